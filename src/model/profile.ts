import { z } from 'zod';
import { KatafleetError } from './errors.ts';

const KiB = 1024;
const MiB = 1024 * KiB;
const GiB = 1024 * MiB;
const bytes = (least: number, most: number) => z.int().min(least).max(most);

/**
 * The limits of a sandbox and of what may come out of it. Sizes are bytes, times ms. The defaults suit a kata: small
 * files, a compile, a few tests.
 */
export const Profile = z.strictObject({
  /** Memory of the whole sandbox, its tmpfs included; swap is none. 16 MiB leaves the supervisor and a shell room. */
  memory: bytes(16 * MiB, 1024 * GiB).default(512 * MiB),
  /** CPUs' worth of time per second, as Docker's --cpus. */
  cpus: z.number().min(0.05).max(1024).default(1),
  /** Processes and threads at once, the supervisor among them. */
  pids: z.int().min(4).max(32_768).default(128),
  /** Longest time of one step on the wall clock. */
  wallMs: z
    .int()
    .min(10)
    .max(24 * 3_600_000)
    .default(10_000),
  /** Longest CPU time of one step, all its processes together; 0 for no limit but the wall clock's. */
  cpuMs: z
    .int()
    .min(0)
    .max(24 * 3_600_000)
    .default(0),
  /**
   * Bytes kept of the beginning of one step's standard output. Beside them as many of its end are kept, 64 KiB at most; what is
   * between is read, counted and dropped.
   */
  stdout: bytes(0, 64 * MiB).default(MiB),
  stderr: bytes(0, 64 * MiB).default(MiB),
  /** Largest file that the program may write (RLIMIT_FSIZE). */
  fileSize: bytes(0, 64 * GiB).default(256 * MiB),
  /** Files that come back at most. */
  filesBack: z.int().min(0).max(100_000).default(1_000),
  /** Largest file that comes back. */
  fileBack: bytes(0, GiB).default(16 * MiB),
  /** Bytes of all files that come back. */
  bytesBack: bytes(0, GiB).default(64 * MiB),
  /** Open files of one process (RLIMIT_NOFILE). */
  openFiles: z.int().min(16).max(1_048_576).default(1_024),
  /** Stack of one thread (RLIMIT_STACK). */
  stack: bytes(64 * KiB, GiB).default(16 * MiB),
  /** Size of /dev/shm; paid from `memory`. 0 keeps user code out of it. If absent, see {@link defaultShm}. */
  shm: bytes(0, 64 * GiB).optional(),
  /** In a swarm: the network on which the supervisor, and it alone, reaches katafleet; absent, the configuration says. */
  dial: z.enum(['host', 'overlay']).optional(),
  /**
   * Name of the Docker network that programs may use; none if absent. Never the machine's own. Only who configures katafleet
   * gives one: no field of {@link ProfileFields}, which callers may say.
   */
  network: z
    .string()
    .regex(/^(?!(host|none|default)$)[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/, "expected the name of a Docker network, and not the machine's own")
    .optional(),
});
export type Profile = z.output<typeof Profile>;

const { shape } = Profile;
/** Some of a profile's fields, within its bounds; what is absent stays absent, so that it can be laid over another profile. */
export const ProfileFields = z.strictObject({
  memory: shape.memory.unwrap().optional(),
  cpus: shape.cpus.unwrap().optional(),
  pids: shape.pids.unwrap().optional(),
  wallMs: shape.wallMs.unwrap().optional(),
  cpuMs: shape.cpuMs.unwrap().optional(),
  stdout: shape.stdout.unwrap().optional(),
  stderr: shape.stderr.unwrap().optional(),
  fileSize: shape.fileSize.unwrap().optional(),
  filesBack: shape.filesBack.unwrap().optional(),
  fileBack: shape.fileBack.unwrap().optional(),
  bytesBack: shape.bytesBack.unwrap().optional(),
  openFiles: shape.openFiles.unwrap().optional(),
  stack: shape.stack.unwrap().optional(),
  shm: shape.shm,
  dial: shape.dial,
});

/**
 * Bytes of /dev/shm where a profile does not say. Semaphores and locks (sem_open, multiprocessing) take a page each, small arrays
 * some more. A sixteenth at most: with the other folders of memory, all full, the supervisor must still have room.
 */
export function defaultShm(memory: number): number {
  return Math.min(8 * MiB, Math.floor(memory / 16 / 4096) * 4096);
}

/** A profile from the fields that differ from the defaults. @throws limits.invalid, naming each field at fault */
export function profileOf(fields: z.input<typeof Profile> = {}): Profile {
  const parsed = Profile.safeParse(fields);
  if (!parsed.success) {
    const faults = parsed.error.issues.map((issue) => `${issue.path.join('.') || 'profile'}: ${issue.message}`);
    throw new KatafleetError('limits.invalid', faults.join('; '));
  }
  return parsed.data;
}

/** What of a profile is fixed when a sandbox is created; the rest can differ from run to run in the same pool. */
export type SandboxLimits = Pick<Profile, 'memory' | 'cpus' | 'pids' | 'openFiles' | 'stack' | 'fileSize' | 'dial'> & {
  shm: number;
  /**
   * The container has the network on which katafleet's rsync daemon is reached; absent, it has none. Steps of the user's are
   * without any in either case. No field of a profile: it follows from how a run's files travel.
   */
  network?: 'rsync';
  /** Behind a node of several machines: constraints, in order, over the labels of the machine. No field of a profile either. */
  machines?: readonly string[];
  /** The Docker network that the container is on for its program's sake: the profile's `network`. */
  joins?: string;
};

export function sandboxLimits(profile: Profile): SandboxLimits {
  const { memory, cpus, pids, openFiles, stack, fileSize, shm, dial, network } = profile;
  const ways = { ...(dial === undefined ? {} : { dial }), ...(network === undefined ? {} : { joins: network }) };
  return { memory, cpus, pids, openFiles, stack, fileSize, shm: shm ?? defaultShm(memory), ...ways };
}

/** What tells pools apart, on every node alike: the image as it is asked for, and the limits. */
export function poolKey(image: string, limits: SandboxLimits): string {
  return JSON.stringify([image, Object.entries(limits).sort(([a], [b]) => (a < b ? -1 : 1))]);
}
