import { z } from 'zod';
import { ReadLight } from './lights.ts';
import { ReadOutcome } from './outcome.ts';

/**
 * The result of a run. These schemas read the records on disk and the answers of the API of every release. So a field that is added has a
 * default, which is used if an older release wrote none. Unknown fields are dropped.
 */

const bytes = z.custom<Buffer>((value) => Buffer.isBuffer(value), 'expected bytes');
const count = z.number().min(0);
const entry = { path: z.string(), mode: z.int().min(0).max(0o7777), mtimeNs: z.bigint() };

/** A step's result without its output. A field that is added here is in the API, `--json`, the client and katas' records. */
export const StepFacts = z.object({
  outcome: ReadOutcome,
  /** Bytes that were printed, dropped ones included. */
  stdoutBytes: count,
  stderrBytes: count,
  /** Whether a cap cut the stream. */
  stdoutCut: z.boolean(),
  stderrCut: z.boolean(),
  wallMs: count,
  userMs: count,
  systemMs: count,
  /** Highest memory of the sandbox so far, bytes; 0 if the kernel does not say. */
  peakMemory: count,
  /** Processes that the kernel killed during the step because memory ran out. */
  oomKills: count,
  /** The command's exit code, if it exited by itself. It may stand beside `out_of_memory`: the command went on after a child was killed. */
  exitCode: z.int().exactOptional(),
  /** Bytes that were dropped between the beginning and the end, if a cap cut the stream. */
  stdoutOmitted: count.exactOptional(),
  stderrOmitted: count.exactOptional(),
});

export const StepResult = z.object({
  ...StepFacts.shape,
  /** The beginning of the output, up to the profile's cap. */
  stdout: bytes,
  stderr: bytes,
  /** The end of the output if a cap cut it: as many bytes as the cap, at most 64 KiB. Absent if the supervisor is an older one. */
  stdoutTail: bytes.exactOptional(),
  stderrTail: bytes.exactOptional(),
});
export type StepResult = z.output<typeof StepResult>;

const changed = { change: z.enum(['created', 'changed']), ...entry };

/** A file that was created or changed, without its bytes. */
export const ListedFile = z.object({
  ...changed,
  /** Bytes. */
  size: count,
});
export type ListedFile = z.output<typeof ListedFile>;

export const ReturnedFile = z.object({ ...changed, content: bytes });
export type ReturnedFile = z.output<typeof ReturnedFile>;

export const ReturnedFolder = z.object(entry);
export type ReturnedFolder = z.output<typeof ReturnedFolder>;

/** Why something left in the sandbox does not come back. */
export const omissions = [
  'symlink',
  /** A file of another user. A file of the sandbox user with several names comes back once for each. */
  'hard_link',
  'fifo',
  'socket',
  'device',
  'too_large',
  'too_many',
  'too_much',
  'unreadable',
  'path',
  'unknown_kind',
] as const;
export type Omission = (typeof omissions)[number];

/** What a run changed, compared with what it was given. */
export const Changes = z.object({
  files: z.array(ReturnedFile),
  /** New folders that hold no file. */
  folders: z.array(ReturnedFolder),
  deleted: z.array(z.string()),
  /** At most 1,000 are listed. A reason that only a later release knows is read as `unknown_kind`. */
  omitted: z.array(z.object({ path: z.string(), reason: z.enum(omissions).catch('unknown_kind') })),
  omittedCount: count,
});
export type Changes = z.output<typeof Changes>;

/** Milliseconds that the parts of a run took. */
export const Timings = z.object({
  /** In the queue, earlier attempts included. */
  queueMs: count,
  /** Until it had a sandbox. */
  acquireMs: count,
  /** From there until the last step's result. */
  executeMs: count,
  /** Until the changed files were back. */
  collectMs: count,
  totalMs: count,
});
export type Timings = z.output<typeof Timings>;

export const RunResult = z.object({
  id: z.string(),
  image: z.string(),
  /** Which node it ran on, by its configured name. */
  node: z.string(),
  /** 1 for the first attempt, and one more for each node that was lost. */
  attempt: z.int(),
  /** Whether an idle sandbox served it. */
  warm: z.boolean(),
  /** Whether it ran in the sandbox that an earlier run of its session left. */
  resumed: z.boolean(),
  /** The outcome of the first step that did not exit; else the last step's. */
  outcome: ReadOutcome,
  /** By the image's rules; absent if it has none. */
  light: ReadLight.exactOptional(),
  /** One for each step that was started. */
  steps: z.array(StepResult),
  changes: Changes,
  timings: Timings,
});
export type RunResult = z.output<typeof RunResult>;

/** Bytes that are not in memory. They are gone when the run is forgotten. */
export interface Pieces {
  readonly bytes: number;
  /** Whether all of them together are UTF-8. */
  readonly utf8: boolean;
  /**
   * Reads the bytes from `from` up to `to`, which is not read; all if absent. The size of each piece but the last is a multiple of three.
   * @throws run.unknown when the run is forgotten
   */
  read(from?: number, to?: number): AsyncIterable<Buffer>;
}

/** A result whose large files are not in memory. */
export interface KeptResult extends Omit<RunResult, 'changes'> {
  changes: Omit<Changes, 'files'> & { files: (Omit<ReturnedFile, 'content'> & { content: Buffer | Pieces })[] };
}

export const noChanges = (): Changes => ({ files: [], folders: [], deleted: [], omitted: [], omittedCount: 0 });
