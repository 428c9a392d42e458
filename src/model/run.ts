import { z } from 'zod';
import { type Profile, StepLimits } from './profile.ts';
import type { Light } from './lights.ts';

/** The user that cyber-dojo's images are made for, and as which files of katafleet's own side are kept. Sandboxes have another each, see model/users.ts. */
export const sandboxUser = { uid: 41966, gid: 51966 } as const;

/** A file that goes into a sandbox. */
export interface SandboxFile {
  /** Relative to the sandbox folder; see model/paths.ts for names that are not UTF-8. */
  path: string;
  /** Permission bits, 0 to 0o7777; 0o644 if absent. */
  mode?: number | undefined;
  /** Modification time in ns since 1970; if absent, the time when the run is placed, see {@link placedNs}. */
  mtimeNs?: bigint | undefined;
  /** The bytes, or where to read exactly `size` of them. */
  content: Uint8Array | { size: number; open: () => AsyncIterable<Uint8Array> };
}

/** A folder that goes into a sandbox: needed for those that hold no file, or whose mode or time stamp matters. */
export interface SandboxFolder {
  path: string;
  /** 0o755 if absent. */
  mode?: number | undefined;
  /** As a file's. */
  mtimeNs?: bigint | undefined;
}

export const defaultModes = { file: 0o644, folder: 0o755 } as const;

/**
 * The time stamp in ns that files without one get which are placed at `now`, in ms: a second earlier, so that nothing looks as
 * if it came from the future on a node whose clock is a little behind, which make complains of.
 */
export const placedNs = (now: number): bigint => BigInt(Math.floor(now) - 1_000) * 1_000_000n;

const text = z.string().refine((value) => !value.includes('\0'), 'must not contain a byte 0');

/** One command in the sandbox. */
export const Step = z.strictObject({
  /** The command and its arguments; no shell is involved. */
  argv: z.array(text).min(1).max(1_000),
  /** Added to the image's environment. */
  env: z.record(z.string().regex(/^[^=\0]+$/), text).default({}),
  /** Standard input; empty where absent. At most 64 MiB. */
  stdin: z.instanceof(Uint8Array).optional(),
  /** Where it starts; absolute, the sandbox folder if absent. */
  cwd: text.startsWith('/').max(4_095).optional(),
  /** This step's own limits, where they differ from the profile's. */
  limits: StepLimits.optional(),
  /** When this step does not exit with 0, the steps after it are left out. */
  required: z.boolean().default(false),
});
export type Step = z.output<typeof Step>;
export type StepInput = z.input<typeof Step>;

/** One run: an image of the catalogue, files, one or more steps, limits. */
export interface RunRequest {
  image: string;
  files: readonly SandboxFile[];
  folders?: readonly SandboxFolder[];
  /**
   * In place of files: a folder on katafleet's machine that the sandbox fetches by rsync, and to which nothing is written.
   * The configuration says below which folders it may lie.
   */
  rsync?: { path: string };
  steps: readonly StepInput[];
  profile?: z.input<typeof Profile>;
  /** Whether changed files come back; true if absent. */
  collect?: boolean;
  /**
   * What shall come back, as globs, see model/glob.ts: what none of them fits is neither sent nor counted against the profile's
   * bounds. All if absent.
   */
  back?: readonly string[];
  /**
   * A name within the tenant: the sandbox is kept for the next run with the same name, for a while, with what tools left in
   * it, so that a build is incremental. Where it is gone a fresh one serves, without a word. Runs of one session come one
   * after another: of two at once the second has a fresh sandbox.
   */
  session?: string;
}

/** How a step, or a run, ended. That output was cut is a flag beside it, see {@link StepResult}. */
export const Outcome = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('exited'), code: z.int() }),
  z.strictObject({ kind: z.literal('signalled'), signal: z.int() }),
  z.strictObject({ kind: z.literal('timed_out'), clock: z.enum(['wall', 'cpu']) }),
  z.strictObject({ kind: z.literal('out_of_memory') }),
  /** Only where the sandbox's folders lie on a disk: on a tmpfs the program itself is told that there is no space. */
  z.strictObject({ kind: z.literal('out_of_disk') }),
  z.strictObject({ kind: z.literal('cancelled') }),
  z.strictObject({ kind: z.literal('lost'), reason: z.string() }),
]);
export type Outcome = z.output<typeof Outcome>;

export interface StepResult {
  outcome: Outcome;
  /** What was printed, up to the profile's cap. */
  stdout: Buffer;
  stderr: Buffer;
  /** Where a cap cut the stream: its last bytes, as many as the cap, at most 64 KiB. Absent where the supervisor is an older one. */
  stdoutTail?: Buffer;
  stderrTail?: Buffer;
  /** Where a cap cut the stream: bytes between its beginning and its end that were dropped. */
  stdoutOmitted?: number;
  stderrOmitted?: number;
  /** Bytes printed in all, those dropped included. */
  stdoutBytes: number;
  stderrBytes: number;
  /** Whether a cap cut the stream. */
  stdoutCut: boolean;
  stderrCut: boolean;
  wallMs: number;
  userMs: number;
  systemMs: number;
  /** Highest memory of the sandbox so far in bytes, 0 where the kernel doesn't tell. */
  peakMemory: number;
  /** Processes that the kernel killed for want of memory during the step. */
  oomKills: number;
  /** The command's own, where it exited by itself: also beside `out_of_memory`, when it went on after a child was killed. */
  exitCode?: number;
}

/** A file that was created or changed, without its bytes. */
export interface ListedFile {
  change: 'created' | 'changed';
  path: string;
  mode: number;
  mtimeNs: bigint;
  /** Bytes. */
  size: number;
}

export interface ReturnedFolder {
  path: string;
  mode: number;
  mtimeNs: bigint;
}

export interface ReturnedFile {
  change: 'created' | 'changed';
  path: string;
  mode: number;
  mtimeNs: bigint;
  content: Buffer;
}

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
export interface Changes {
  files: ReturnedFile[];
  /** New folders that hold no file. */
  folders: ReturnedFolder[];
  deleted: string[];
  /** Listed up to 1,000. */
  omitted: { path: string; reason: Omission }[];
  omittedCount: number;
}

/** Milliseconds that the parts of a run took. */
export interface Timings {
  /** In the queue, earlier attempts included. */
  queueMs: number;
  /** Until a sandbox was had. */
  acquireMs: number;
  /** From there until the last step's result. */
  executeMs: number;
  /** Until the changed files were back. */
  collectMs: number;
  totalMs: number;
}

export interface RunResult {
  id: string;
  image: string;
  /** Which node it ran on, by its configured name. */
  node: string;
  /** 1, and one more for each node that was lost under it. */
  attempt: number;
  /** Whether an idle sandbox served it. */
  warm: boolean;
  /** Whether it went on in the sandbox that an earlier run of its session left. */
  resumed: boolean;
  /** The first step's outcome that is no exit; else the last step's. */
  outcome: Outcome;
  /** By the image's rules; absent where it has none. */
  light?: Light;
  /** One for each step that was started. */
  steps: StepResult[];
  changes: Changes;
  timings: Timings;
}

export const noChanges = (): Changes => ({ files: [], folders: [], deleted: [], omitted: [], omittedCount: 0 });

/** Begins the reason of an attempt that is none of a run's tries: the journal counts by it after a restart. */
export const notCounted = 'no try: ';
