import { z } from 'zod';
import { Profile, StepLimits } from './profile.ts';

/** A run as it is asked for. */

const entry = {
  /** Relative to the sandbox folder; see model/paths.ts for names that are not UTF-8. */
  path: z.string(),
  /** Permission bits, 0 to 0o7777; those of {@link defaultModes} if absent. */
  mode: z.int().min(0).max(0o7777).optional(),
  /** Modification time in ns since 1970; {@link placedNs} if absent. */
  mtimeNs: z.bigint('expected a bigint of nanoseconds').optional(),
};

/** A source of exactly `size` bytes. */
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
  /** The bytes, or a source of them. */
  content: z.custom<Uint8Array | FileStream>(isContent, 'expected bytes, or {size, open}'),
});
export type SandboxFile = z.input<typeof SandboxFile>;

/** A folder that goes into a sandbox. Needed only if it holds no file, or if its mode or time stamp matters. */
export const SandboxFolder = z.object(entry);
export type SandboxFolder = z.input<typeof SandboxFolder>;

export const defaultModes = { file: 0o644, folder: 0o755 } as const;

/**
 * Returns the time stamp in ns of files that have none, for a run that is placed at `now` (ms). It is a second earlier: on a node whose
 * clock is a little behind, a file must not come from the future, because make warns of that.
 */
export const placedNs = (now: number): bigint => BigInt(Math.floor(now) - 1_000) * 1_000_000n;

const text = z.string().refine((value) => !value.includes('\0'), 'must not contain a byte 0');

/** One command in the sandbox. */
export const Step = z.strictObject({
  /** The command and its arguments; no shell is involved. */
  argv: z.array(text).min(1).max(1_000),
  /** Added to the image's environment. */
  env: z.record(z.string().regex(/^[^=\0]+$/), text).default({}),
  /** Standard input, at most 64 MiB; empty if absent. */
  stdin: z.instanceof(Uint8Array).optional(),
  /** Working directory, absolute; the sandbox folder if absent. */
  cwd: text.startsWith('/').max(4_095).optional(),
  /** This step's own limits, if they differ from the profile's. */
  limits: StepLimits.optional(),
  /** If this step does not exit with 0, the steps after it do not run. */
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
   * In place of files: a folder on katafleet's machine that the sandbox fetches by rsync. Nothing is written to it. The configuration
   * says below which folders it may lie.
   */
  rsync: z.object({ path: z.string() }).exactOptional(),
  steps: z.array(Step).readonly(),
  profile: Profile.exactOptional(),
  /** Whether changed files come back; true if absent. */
  collect: z.boolean().exactOptional(),
  /**
   * Globs of the files that come back, see model/glob.ts; all files if absent. Other files are neither sent nor counted against the
   * profile's bounds.
   */
  back: z.array(z.string()).readonly().exactOptional(),
  /**
   * A name within the tenant. The sandbox is kept for a while for the next run with the same name, with everything that tools left in
   * it, so that a build is incremental. If it is gone, the run gets a fresh one and no error. Runs of one session run one after
   * another: if two come at once, the second gets a fresh sandbox.
   */
  session: z.string().exactOptional(),
});
export type RunRequest = z.input<typeof RunRequest>;

/** Called with output as it comes. Its promise is awaited, so a slow reader slows the program down. */
export type OnOutput = (step: number, stream: 'stdout' | 'stderr', bytes: Buffer) => void | Promise<void>;

export interface RunOptions {
  /** Cancels the run: what it printed before is kept, and its outcome is `cancelled`. */
  signal?: AbortSignal;
  onOutput?: OnOutput;
}
