import { z } from 'zod';
import { MiB } from '../base/units.ts';
import { KatafleetError } from '../model/errors.ts';
import { Light } from '../model/lights.ts';
import { Manifest } from '../model/manifest.ts';
import { pathBytes } from '../model/paths.ts';
import { ReadOutcome } from '../model/outcome.ts';
import { type RunResult, StepFacts, Timings } from '../model/result.ts';
import { KataId } from './names.ts';
import { Rules } from './rules.ts';
import type { KataFile, KataFolder, KataFiles } from './kata-files.ts';
import type { LeftOut } from './sandbox.ts';

/**
 * The JSON documents in an avatar's repository. Bundles come from strangers, so all are checked when they are read. They are on
 * disk for ever: what any release wrote has to be read, so that a field that is added needs a default, and one of a younger
 * release is dropped.
 */

/** `kata.json`: what the kata is; the same in every commit. */
export const KataRecord = z.object({
  version: z.literal(1),
  id: KataId,
  /** ISO 8601. */
  created: z.iso.datetime(),
  manifest: Manifest,
  rules: Rules,
});
export type KataRecord = z.output<typeof KataRecord>;

/** Older releases kept times beyond 64 bits of ns, which no file system can hold: they are read as the nearest that fits. */
const decimal = z
  .string()
  .regex(/^-?\d{1,40}$/)
  .transform((text) => {
    const ns = BigInt(text);
    return ns === BigInt.asIntN(64, ns) ? ns : ns < 0n ? -(2n ** 63n) : 2n ** 63n - 1n;
  });
const mode = z.int().min(0).max(0o7777);
const paths = z.array(z.string()).max(1_000_000);
const count = z.number().min(0);

const Stamp = z.object({ path: z.string(), mode, mtimeNs: decimal, hidden: z.boolean().default(false) });
type Stamp = z.output<typeof Stamp>;

/** `files.json`: what git does not keep of the sandbox folder: time stamps, modes, empty folders, and what is hidden. */
const FilesRecord = z.object({ version: z.literal(1), files: z.array(Stamp), folders: z.array(Stamp) });

/** An entry a line, sorted, so that the differences from commit to commit are small. */
export function filesJson({ files, folders }: KataFiles): Buffer {
  const lines = (entries: ReadonlyMap<string, KataFile | KataFolder>) =>
    Array.from(entries)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([path, entry]) =>
        JSON.stringify({ path, mode: entry.mode, mtimeNs: String(entry.mtimeNs), ...(entry.hidden ? { hidden: true } : {}) }),
      )
      .join(',\n');
  return Buffer.from(`{"version":1,"files":[\n${lines(files)}\n],"folders":[\n${lines(folders)}\n]}\n`);
}

/** `test.json`: how a test went. What was printed lies beside it, as the bytes that it was, in `stdout` and `stderr`. */
export const TestRecord = z.object({
  version: z.literal(1),
  test: z.int().min(1),
  /** When the files were handed in, ISO 8601. */
  at: z.iso.datetime(),
  /** The run's id; absent where there was none. */
  run: z.string().optional(),
  image: z.string(),
  node: z.string().optional(),
  attempt: z.int().optional(),
  warm: z.boolean().optional(),
  /** Whether a session's sandbox served it. */
  resumed: z.boolean().optional(),
  outcome: ReadOutcome,
  light: Light.optional(),
  timings: Timings.partial().optional(),
  steps: z.array(StepFacts).max(10_000),
  /**
   * Files that the run made, changed and deleted, those kept but hidden, those dropped by a rule: the first of each, where there
   * are more than {@link listBytes} of them. The tree has all.
   */
  created: paths,
  changed: paths,
  deleted: paths,
  hidden: paths,
  ignored: paths,
  /** What was handed in and what was made that could not be kept. */
  leftOut: z.array(z.object({ path: z.string(), reason: z.string() })).max(100_000),
  leftOutCount: count,
});
export type TestRecord = z.output<typeof TestRecord>;

/** What became of a test: a run's result, or why there is none. */
export type Ending = { kind: 'ran'; result: RunResult } | { kind: 'failed'; reason: string };

/** Bytes of the names in one list of a record. A program can make far more, and a record that large would not be read. */
export const listBytes = MiB;
/** Letters of why there is no result. */
const mostReason = 2_000;

/** The first entries, within {@link listBytes} of names. */
function within<T>(entries: readonly T[], nameOf: (entry: T) => string): T[] {
  let bytes = 0;
  const end = entries.findIndex((entry) => (bytes += pathBytes(nameOf(entry))) > listBytes);
  return entries.slice(0, end < 0 ? entries.length : end);
}

export function testRecord(
  test: number,
  at: number,
  image: string,
  ending: Ending,
  changes: Pick<TestRecord, 'created' | 'changed' | 'deleted' | 'hidden' | 'ignored'> & { leftOut: LeftOut[]; leftOutCount: number },
): TestRecord {
  const begun = { version: 1 as const, test, at: new Date(at).toISOString(), image };
  const { created, changed, deleted, hidden, ignored, leftOut, leftOutCount } = changes;
  const lists = { created, changed, deleted, hidden, ignored };
  const rest = {
    ...(Object.fromEntries(Object.entries(lists).map(([name, paths]) => [name, within(paths, (path) => path)])) as typeof lists),
    leftOut: within(leftOut, ({ path }) => path).slice(0, 2_000),
    leftOutCount,
  };
  if (ending.kind === 'failed') {
    return { ...begun, outcome: { kind: 'lost', reason: ending.reason.slice(0, mostReason) }, steps: [], ...rest };
  }
  const { id, node, attempt, warm, resumed, outcome: ended, light, timings, steps } = ending.result;
  return {
    ...begun,
    run: id,
    node,
    attempt,
    warm,
    resumed,
    outcome: ended,
    ...(light === undefined ? {} : { light }),
    timings,
    steps: steps.map(({ stdout: _stdout, stderr: _stderr, stdoutTail: _stdoutTail, stderrTail: _stderrTail, ...step }) => step),
    ...rest,
  };
}

/** JSON as people read it, a line end at its end. Lone surrogates, which stand for bytes that are no text, come out escaped. */
export function json(value: unknown): Buffer {
  return Buffer.from(`${JSON.stringify(value, undefined, 1)}\n`);
}

/** @throws kata.invalid */
export function readKataRecord(bytes: Buffer, shown: string): KataRecord {
  return read(KataRecord, bytes, shown);
}

/** @throws kata.invalid */
export function readTestRecord(bytes: Buffer, shown: string): TestRecord {
  return read(TestRecord, bytes, shown);
}

/** The stamps of `files.json`; without one, or where it is broken, git's own word on modes holds. */
export function readStamps(bytes: Buffer | undefined): { files: Map<string, Stamp>; folders: Map<string, Stamp> } {
  const { files, folders } = (bytes && whole(FilesRecord, bytes)) ?? { files: [], folders: [] };
  const byPath = (stamps: Stamp[]) => new Map(stamps.map((stamp) => [stamp.path, stamp]));
  return { files: byPath(files), folders: byPath(folders) };
}

/** What can't be read is taken for absent: an avatar whose files are whole is never refused for what is written about them. */
function whole<T>(schema: z.ZodType<T>, bytes: Buffer): T | undefined {
  try {
    return schema.safeParse(JSON.parse(bytes.toString('utf8'))).data;
  } catch {
    return undefined; // no JSON
  }
}

function read<T>(schema: z.ZodType<T>, bytes: Buffer, shown: string): T {
  try {
    return schema.parse(JSON.parse(bytes.toString('utf8')));
  } catch (cause) {
    const why = cause instanceof z.ZodError ? (cause.issues[0]?.path.join('.') ?? '') + ': ' + (cause.issues[0]?.message ?? '') : 'no JSON';
    throw new KatafleetError('kata.invalid', `${shown} is not what katafleet writes (${why})`, { cause });
  }
}
