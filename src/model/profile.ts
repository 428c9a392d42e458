import { z } from 'zod';
import { MiB } from '../base/units.ts';
import { KatafleetError } from './errors.ts';
import { type ContainerLimit, containerLimits, limitShape, optionalShape, ownLimits, callerLimits } from './limits.ts';

/** The limits of a sandbox and of what may come out of it: every limit of limits.ts. Sizes are bytes, times ms. */
export const Profile = z.strictObject(limitShape);
export type Profile = z.output<typeof Profile>;

/** The limits that callers may give. An absent limit stays absent, so that these can be laid over a profile. */
export const ProfileFields = z.strictObject(optionalShape(callerLimits));

/** The limits that a step may give itself, in place of the profile's. */
export const StepLimits = z.strictObject(optionalShape(ownLimits));

/** The size of a page of memory on most hosts: the kernel rounds a filesystem in memory up to whole pages. */
const pageBytes = 4_096;

/**
 * Returns the bytes of /dev/shm if a profile does not say. Semaphores and locks (sem_open, multiprocessing) take a page each, small
 * arrays some more. It is a sixteenth of the memory at most: if all folders in memory are full, the supervisor must still have room.
 */
export function defaultShm(memory: number): number {
  return Math.min(8 * MiB, Math.floor(memory / 16 / pageBytes) * pageBytes);
}

/** Returns a profile from the fields that differ from the defaults. @throws limits.invalid, naming each field at fault */
export function profileOf(fields: z.input<typeof Profile> = {}): Profile {
  const parsed = Profile.safeParse(fields);
  if (!parsed.success) {
    const faults = parsed.error.issues.map((issue) => `${issue.path.join('.') || 'profile'}: ${issue.message}`);
    throw new KatafleetError('limits.invalid', faults.join('; '));
  }
  return parsed.data;
}

/**
 * The limits that are fixed when a sandbox is created, because they act on the container. All other limits can differ from run to run in
 * the same pool.
 */
export type SandboxLimits = Pick<Profile, Exclude<ContainerLimit, 'shm' | 'network'>> & {
  shm: number;
  /**
   * Open files of one process, for a run that may have more than {@link usualOpenFiles}: over ssh the most is fixed when the
   * container is made, rounded up; the supervisor sets each step's own. A container is not made with the most that a profile may have, because not every host allows that.
   */
  openFiles?: number;
  /**
   * The container has the network on which katafleet's rsync daemon is reached; it has none if absent. The user's steps have no
   * network in either case. Not a field of a profile: it follows from how a run's files travel.
   */
  network?: 'rsync';
  /** On a swarm's node: constraints, in order, over the labels of the machine. Not a field of a profile either. */
  machines?: readonly string[];
  /** The Docker network that the program has: the profile's `network`. */
  joins?: string;
};

export function sandboxLimits(profile: Profile): SandboxLimits {
  const fixed = Object.fromEntries(containerLimits.flatMap((name) => (profile[name] === undefined ? [] : [[name, profile[name]]])));
  const { network, ...limits } = fixed as Pick<Profile, ContainerLimit>;
  return {
    ...limits,
    // Rounded up where a program cannot observe it, so that pools are few: see docs/scheduling.md.
    cpus: Math.ceil(profile.cpus * 100 - 1e-6) / 100,
    shm: pageBytes * Math.ceil((profile.shm ?? defaultShm(profile.memory)) / pageBytes),
    ...(profile.openFiles > usualOpenFiles ? { openFiles: 2 ** Math.ceil(Math.log2(profile.openFiles)) } : {}),
    ...(network === undefined ? {} : { joins: network }),
  };
}

/**
 * Open files that every container allows at least. That is enough for the supervisor's own (the stream, pipes, a walk down the deepest
 * tree) and for the steps of nearly all runs.
 */
export const usualOpenFiles = 1_024;

/** The fields of {@link SandboxLimits} in the order of a pool's key, which also names services of a swarm: it must not change. */
const keyFields = Object.keys({
  memory: true,
  cpus: true,
  pids: true,
  dial: true,
  shm: true,
  openFiles: true,
  network: true,
  machines: true,
  joins: true,
} satisfies Record<keyof SandboxLimits, true>).sort() as (keyof SandboxLimits)[];

/** The last key that was asked for with each object of limits: each run asks several times with the same object. */
const lastKeys = new WeakMap<SandboxLimits, { image: string; key: string }>();

/** Returns the key of a pool, the same on every node: the image as it is asked for, and the limits, which never change. */
export function poolKey(image: string, limits: SandboxLimits): string {
  const last = lastKeys.get(limits);
  if (last?.image === image) return last.key;
  const key = JSON.stringify([image, keyFields.filter((name) => limits[name] !== undefined).map((name) => [name, limits[name]])]);
  lastKeys.set(limits, { image, key });
  return key;
}
