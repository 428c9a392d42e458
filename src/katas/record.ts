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
 * The JSON documents in an avatar's repository. All are checked when they are read, because bundles may come from untrusted sources.
 * They stay on disk for ever and every release's documents must be readable: a new field needs a default, and a field of a later
 * release is dropped.
 */

/** `kata.json`: the kata's settings, the same in every commit. */
export const KataRecord = z.object({
  version: z.literal(1),
  id: KataId,
  /** ISO 8601. */
  created: z.iso.datetime(),
  manifest: Manifest,
  rules: Rules,
});
export type KataRecord = z.output<typeof KataRecord>;

/** Older releases stored times beyond 64 bits of ns, which no file system can hold: they are read as the nearest valid time. */
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

/** `files.json`: what git does not store of the sandbox folder: time stamps, modes, empty folders, and which entries are hidden. */
const FilesRecord = z.object({ version: z.literal(1), files: z.array(Stamp), folders: z.array(Stamp) });

/** Writes each entry on a line, sorted, so that commits differ little. */
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

/** `test.json`: a test's result. Its output lies beside it in `stdout` and `stderr`, as unchanged bytes. */
export const TestRecord = z.object({
  version: z.literal(1),
  test: z.int().min(1),
  /** When the files were submitted, ISO 8601. */
  at: z.iso.datetime(),
  /** The run's id; absent if there was no run. */
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
   * Files that the run created, changed and deleted, hidden files, and files that a rule dropped. Of each list only the first entries
   * are stored, up to {@link listBytes}. The tree has all.
   */
  created: paths,
  changed: paths,
  deleted: paths,
  hidden: paths,
  ignored: paths,
  /** Submitted and created files that could not be stored. */
  leftOut: z.array(z.object({ path: z.string(), reason: z.string() })).max(100_000),
  leftOutCount: count,
});
export type TestRecord = z.output<typeof TestRecord>;

/** How a test ended: a run's result, or the reason why there is none. */
export type Ending = { kind: 'ran'; result: RunResult } | { kind: 'failed'; reason: string };

/** Most bytes of the names in a list of a record. A program can create far more names, and a record of that size would not be read. */
export const listBytes = MiB;
/** Most characters of the reason why there is no result. */
const mostReason = 2_000;

/** Returns the first entries, within {@link listBytes} of names. */
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

/** Returns indented JSON that ends with a line feed. Lone surrogates, which stand for bytes that are not text, are escaped. */
export function json(value: unknown): Buffer {
  return Buffer.from(`${JSON.stringify(value, undefined, 1)}\n`);
}

/** Reads `kata.json`. @throws kata.invalid */
export function readKataRecord(bytes: Buffer, shown: string): KataRecord {
  return read(KataRecord, bytes, shown);
}

/** Reads `test.json`. @throws kata.invalid */
export function readTestRecord(bytes: Buffer, shown: string): TestRecord {
  return read(TestRecord, bytes, shown);
}

/** Returns the stamps of `files.json`. If it is missing or broken, git's modes are used. */
export function readStamps(bytes: Buffer | undefined): { files: Map<string, Stamp>; folders: Map<string, Stamp> } {
  const { files, folders } = (bytes && whole(FilesRecord, bytes)) ?? { files: [], folders: [] };
  const byPath = (stamps: Stamp[]) => new Map(stamps.map((stamp) => [stamp.path, stamp]));
  return { files: byPath(files), folders: byPath(folders) };
}

/** Reads a document as absent if it is broken: an avatar whose files are complete stays usable. */
function whole<T>(schema: z.ZodType<T>, bytes: Buffer): T | undefined {
  try {
    return schema.safeParse(JSON.parse(bytes.toString('utf8'))).data;
  } catch {
    return undefined; // it is not JSON
  }
}

function read<T>(schema: z.ZodType<T>, bytes: Buffer, shown: string): T {
  try {
    return schema.parse(JSON.parse(bytes.toString('utf8')));
  } catch (cause) {
    const why = cause instanceof z.ZodError ? (cause.issues[0]?.path.join('.') ?? '') + ': ' + (cause.issues[0]?.message ?? '') : 'no JSON';
    throw new KatafleetError('kata.invalid', `${shown} is not of the form that katafleet writes (${why})`, { cause });
  }
}
