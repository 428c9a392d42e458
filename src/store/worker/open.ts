import { closeSync, existsSync, openSync } from 'node:fs';
import { dirname } from 'node:path';
import Database from 'better-sqlite3';
import { MiB } from '../../base/units.ts';
import { makeFolderSync } from '../../files/make-folder.ts';
import { KatafleetError, messageOf } from '../../model/errors.ts';
import { migrations } from './schema.ts';

export type Db = Database.Database;

/**
 * Opens the database for this process only. With WAL, a killed process loses nothing that it has confirmed. A power cut may lose the
 * last moments (synchronous = NORMAL), unless `power` is set (FULL): each commit is then on the disk before it is confirmed.
 * @throws journal.locked, journal.broken, journal.newer
 */
export function openDatabase(file: string, power: boolean): Db {
  let db: Db | undefined;
  try {
    if (file !== ':memory:') create(file);
    db = new Database(file, { timeout: 2_000 });
    db.pragma('locking_mode = EXCLUSIVE');
    refuseNewer(db, file); // before any write
    if (versionOf(db) === 0) db.pragma('auto_vacuum = INCREMENTAL'); // it only works before the first table
    db.pragma('journal_mode = WAL');
    db.pragma(`synchronous = ${power ? 'FULL' : 'NORMAL'}`);
    db.pragma(`journal_size_limit = ${64 * MiB}`);
    db.pragma('cache_size = -32768'); // KiB
    migrate(db);
    return db;
  } catch (error) {
    db?.close();
    throw journalError(error, file);
  }
}

/** Creates the file with access for this user only: it holds users' files. */
function create(file: string): void {
  makeFolderSync(dirname(file), 0o700);
  if (!existsSync(file)) closeSync(openSync(file, 'wx', 0o600));
}

const versionOf = (db: Db) => Number(db.pragma('user_version', { simple: true }));

function refuseNewer(db: Db, file: string): void {
  const version = versionOf(db);
  if (version <= migrations.length) return;
  throw new KatafleetError(
    'journal.newer',
    `the journal ${file} was written by a newer katafleet (version ${version}; this one knows ${migrations.length})`,
    { hint: 'use that katafleet, or name another file with journal.file' },
  );
}

function migrate(db: Db): void {
  db.transaction(() => {
    for (const sql of migrations.slice(versionOf(db))) db.exec(sql);
    db.pragma(`user_version = ${migrations.length}`);
  }).exclusive();
}

/** Errors of the path or the file system. They do not mean that the content is broken. */
const outOfReach = /^(E(NOENT|EXIST|ACCES|PERM|ROFS|NOTDIR|ISDIR|LOOP|NAMETOOLONG)|SQLITE_(CANTOPEN|READONLY|PERM).*)$/;

function journalError(error: unknown, file: string): KatafleetError {
  if (error instanceof KatafleetError) return error;
  const { code = '' } = error as { code?: string };
  if (code.startsWith('SQLITE_BUSY') || code.startsWith('SQLITE_LOCKED')) {
    return new KatafleetError('journal.locked', `the journal ${file} is used by another katafleet`, {
      cause: error,
      hint: 'one journal has one katafleet serve: end the other, or name another file with --journal',
    });
  }
  return new KatafleetError('journal.broken', `the journal ${file} can't be used: ${messageOf(error)}`, {
    cause: error,
    hint: outOfReach.test(code)
      ? `katafleet must be able to make and write it; another place is named by journal.file in katafleet.yaml, or --journal`
      : 'move it away to begin a new one, or restore it',
  });
}
