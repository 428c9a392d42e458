import { KatafleetError } from '../../model/errors.ts';

export const fullDisk = (why: string, cause?: unknown) =>
  new KatafleetError('journal.full', `the journal's disk can't be written: ${why}`, {
    ...(cause === undefined ? {} : { cause }),
    hint: 'make room on the disk of journal.file; katafleet then goes on by itself',
    retryAfterMs: 1_000,
  });

export const silentWorker = () =>
  new KatafleetError('journal.unavailable', 'the journal does not answer now', {
    hint: 'katafleet starts it again by itself; if this stays so, see whether its disk hangs',
    retryAfterMs: 1_000,
  });
