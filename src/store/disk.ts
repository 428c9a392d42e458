/** SQLite's and the file system's errors if the disk is full, or can't be written at present. A faulty write gives none of these. */
const transientErrors = /^(SQLITE_(FULL|IOERR|READONLY|CANTOPEN|NOMEM|BUSY)|E(NOSPC|DQUOT|IO|ROFS|FBIG|MFILE|NFILE)$)/;

/** Whether a write failed because of the journal's disk: it may be tried again. */
export function isDisk(error: unknown): boolean {
  const { code } = (error ?? {}) as { code?: unknown };
  return typeof code === 'string' && transientErrors.test(code);
}
