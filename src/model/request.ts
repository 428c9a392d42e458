import { z } from 'zod';
import { Profile, StepLimits } from './profile.ts';

/** What a run is asked for. */

const entry = {
  /** Relative to the sandbox folder; see model/paths.ts for names that are not UTF-8. */
  path: z.string(),
  /** Permission bits, 0 to 0o7777; see {@link defaultModes} for what holds if absent. */
  mode: z.int().min(0).max(0o7777).optional(),
  /** Modification time in ns since 1970; if absent, the time when the run is placed, see {@link placedNs}. */
  mtimeNs: z.bigint('expected a bigint of nanoseconds').optional(),
};

/** Where to read exactly `size` bytes. */
interface FileStream {
  size: number;
  open: () => AsyncIterable<Uint8Array>;
}

/** Whether a value is the content of a {@link SandboxFile}. */
export function isContent(value: unknown): value is Uint8Array | FileStream {
  if (value instanceof Uint8Array) return true;
  const { size, open } = (value ?? {}) as { size?: unknown; open?: unknown };
  return Number.isSafeInteger(size) && Number(size) >= 0 && typeof open === 'function';
}

/** A file that goes into a sandbox. */
export const SandboxFile = z.object({
  ...entry,
  /** The bytes, or where to read them. */
  content: z.custom<Uint8Array | FileStream>(isContent, 'expected bytes, or {size, open}'),
});
export type SandboxFile = z.input<typeof SandboxFile>;

/** A folder that goes into a sandbox: needed for those that hold no file, or whose mode or time stamp matters. */
export const SandboxFolder = z.object(entry);
export type SandboxFolder = z.input<typeof SandboxFolder>;

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
export const RunRequest = z.object({
  image: z.string(),
  files: z.array(SandboxFile).readonly(),
  folders: z.array(SandboxFolder).readonly().exactOptional(),
  /**
   * In place of files: a folder on katafleet's machine that the sandbox fetches by rsync, and to which nothing is written.
   * The configuration says below which folders it may lie.
   */
  rsync: z.object({ path: z.string() }).exactOptional(),
  steps: z.array(Step).readonly(),
  profile: Profile.exactOptional(),
  /** Whether changed files come back; true if absent. */
  collect: z.boolean().exactOptional(),
  /**
   * What shall come back, as globs, see model/glob.ts: what none of them fits is neither sent nor counted against the profile's
   * bounds. All if absent.
   */
  back: z.array(z.string()).readonly().exactOptional(),
  /**
   * A name within the tenant: the sandbox is kept for the next run with the same name, for a while, with what tools left in
   * it, so that a build is incremental. Where it is gone a fresh one serves, without a word. Runs of one session come one
   * after another: of two at once the second has a fresh sandbox.
   */
  session: z.string().exactOptional(),
});
export type RunRequest = z.input<typeof RunRequest>;

/** Told of output as it comes; what it returns is waited for, so that a slow reader slows the program. */
export type OnOutput = (step: number, stream: 'stdout' | 'stderr', bytes: Buffer) => void | Promise<void>;

export interface RunOptions {
  /** Ends the run: what was printed before is kept, the outcome is cancelled. */
  signal?: AbortSignal;
  onOutput?: OnOutput;
}
