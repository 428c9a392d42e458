import { z } from 'zod';
import { Light } from './lights.ts';
import { ReadOutcome } from './outcome.ts';

/**
 * What a run came to. Records on disk and answers of the API are read by these schemas for ever: a field that is added has a
 * default, which stands for it where an older release wrote none. Fields that nobody knows are dropped.
 */

const bytes = z.custom<Buffer>((value) => Buffer.isBuffer(value), 'expected bytes');
const count = z.number().min(0);
const entry = { path: z.string(), mode: z.int().min(0).max(0o7777), mtimeNs: z.bigint() };

/** A step's result but for what was printed. A flag or a number that is added here is in the API, `--json`, the client and katas' records. */
export const StepFacts = z.object({
  outcome: ReadOutcome,
  /** Bytes printed in all, those dropped included. */
  stdoutBytes: count,
  stderrBytes: count,
  /** Whether a cap cut the stream. */
  stdoutCut: z.boolean(),
  stderrCut: z.boolean(),
  wallMs: count,
  userMs: count,
  systemMs: count,
  /** Highest memory of the sandbox so far in bytes, 0 where the kernel doesn't tell. */
  peakMemory: count,
  /** Processes that the kernel killed for want of memory during the step. */
  oomKills: count,
  /** The command's own, where it exited by itself: also beside `out_of_memory`, when it went on after a child was killed. */
  exitCode: z.int().exactOptional(),
  /** Where a cap cut the stream: bytes between its beginning and its end that were dropped. */
  stdoutOmitted: count.exactOptional(),
  stderrOmitted: count.exactOptional(),
});

export const StepResult = z.object({
  ...StepFacts.shape,
  /** What was printed, up to the profile's cap. */
  stdout: bytes,
  stderr: bytes,
  /** Where a cap cut the stream: its last bytes, as many as the cap, at most 64 KiB. Absent where the supervisor is an older one. */
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
  /** A file that is not the sandbox user's; those that are come back once for each of their names. */
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

/** What a run left behind, compared with what it was given. */
export const Changes = z.object({
  files: z.array(ReturnedFile),
  /** New folders that hold no file. */
  folders: z.array(ReturnedFolder),
  deleted: z.array(z.string()),
  /** Listed up to 1,000. A reason that only a younger katafleet knows is read as `unknown_kind`. */
  omitted: z.array(z.object({ path: z.string(), reason: z.enum(omissions).catch('unknown_kind') })),
  omittedCount: count,
});
export type Changes = z.output<typeof Changes>;

/** Milliseconds that the parts of a run took. */
export const Timings = z.object({
  /** In the queue, earlier attempts included. */
  queueMs: count,
  /** Until a sandbox was had. */
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
  /** 1, and one more for each node that was lost under it. */
  attempt: z.int(),
  /** Whether an idle sandbox served it. */
  warm: z.boolean(),
  /** Whether it went on in the sandbox that an earlier run of its session left. */
  resumed: z.boolean(),
  /** The first step's outcome that is no exit; else the last step's. */
  outcome: ReadOutcome,
  /** By the image's rules; absent where it has none. */
  light: Light.exactOptional(),
  /** One for each step that was started. */
  steps: z.array(StepResult),
  changes: Changes,
  timings: Timings,
});
export type RunResult = z.output<typeof RunResult>;

/** Bytes that are kept somewhere and read piece by piece. Each piece but the last is a multiple of three bytes. */
export interface Pieces extends Iterable<Buffer> {
  readonly bytes: number;
  /** Whether all of them together are UTF-8. */
  readonly utf8: boolean;
}

/** A result whose large files are not in memory. */
export interface KeptResult extends Omit<RunResult, 'changes'> {
  changes: Omit<Changes, 'files'> & { files: (Omit<ReturnedFile, 'content'> & { content: Buffer | Pieces })[] };
}

export const noChanges = (): Changes => ({ files: [], folders: [], deleted: [], omitted: [], omittedCount: 0 });
