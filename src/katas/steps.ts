import { KatafleetError } from '../model/errors.ts';
import { shownOutput, type Stream } from '../model/output.ts';
import type { SandboxFile, SandboxFolder } from '../model/request.ts';
import { noChanges } from '../model/result.ts';
import { savedCommit, testedCommit } from './commits.ts';
import type { CommitPlan } from './fast-import.ts';
import { type KataRecord, type TestRecord, testRecord } from './record.ts';
import type { FateOf } from './rules.ts';
import { noFiles, type KataFiles } from './kata-files.ts';
import { type Applied, apply, type LeftOut, submit } from './sandbox.ts';
import type { Ended, Submission } from './spool.ts';

/** The two steps of a test as plain data: they follow from the submission and from how it ended, also after a crash. */

export interface Saved {
  sandbox: KataFiles;
  leftOut: LeftOut[];
  plan: CommitPlan;
}

/** Returns the first step. @throws files.* */
export function savedStep({ id }: KataRecord, avatar: string, before: KataFiles, { given, test, at }: Submission): Saved {
  const { sandbox, leftOut } = given ? submit(before, given.files, given.folders, at) : { sandbox: before, leftOut: [] };
  return { sandbox, leftOut, plan: savedCommit(test, avatar, id, at, before, sandbox) };
}

/** Returns the first step of a test whose first commit is in the repository already. */
export function savedBefore(sandbox: KataFiles, { given, at }: Submission): Omit<Saved, 'plan'> {
  return { sandbox, leftOut: given ? submit(noFiles, given.files, given.folders, at).leftOut : [] };
}

export interface TestedStep {
  applied: Applied;
  record: TestRecord;
  plan: CommitPlan;
}

export function testedStep(
  saved: Omit<Saved, 'plan'>,
  fate: FateOf,
  { test, at, image }: Submission,
  { at: endedAt, ending }: Ended,
): TestedStep {
  const changes = ending.kind === 'ran' ? ending.result.changes : noChanges();
  const applied = apply(saved.sandbox, changes, fate);
  applied.shown.omitted.unshift(...saved.leftOut);
  applied.shown.omittedCount += saved.leftOut.length;
  const { files } = applied.sandbox;
  const taken = (change: 'created' | 'changed') =>
    changes.files
      .filter((file) => file.change === change && !applied.ignored.includes(file.path) && files.has(file.path))
      .map(({ path }) => path);
  const record = testRecord(test, at, image, ending, {
    created: taken('created'),
    changed: taken('changed'),
    deleted: changes.deleted.filter((path) => !files.has(path)),
    hidden: applied.hidden,
    ignored: applied.ignored,
    leftOut: applied.shown.omitted,
    leftOutCount: applied.shown.omittedCount,
  });
  const steps = ending.kind === 'ran' ? ending.result.steps : [];
  const all = (stream: Stream) => Buffer.concat(steps.map((step) => shownOutput(step, stream)));
  const printed = { stdout: all('stdout'), stderr: all('stderr') };
  return { applied, record, plan: testedCommit(record, printed, endedAt, saved.sandbox, applied.sandbox) };
}

/** Returns a sandbox folder in the form of a run's request. */
export function entriesOf({ files, folders }: KataFiles): { files: SandboxFile[]; folders: SandboxFolder[] } {
  return {
    files: Array.from(files, ([path, { mode, mtimeNs, content, oid }]) => {
      if (!content) throw new KatafleetError('internal', `the content ${oid} of ${JSON.stringify(path)} is not in memory`);
      return { path, mode, mtimeNs, content };
    }),
    folders: Array.from(folders, ([path, { mode, mtimeNs }]) => ({ path, mode, mtimeNs })),
  };
}
