import { KiB } from '../../base/units.ts';

/** What every driver gives a sandbox, in its own engine's words. */

/** Where the supervisor lies in every image. */
export const supervisorPath = '/.katafleet/supervisor';

/**
 * What the supervisor needs as root in its container, and nothing more: to become the user, to kill what the user
 * runs, to write and read the user's files whatever their modes, and to drop all this for the user's code.
 */
export const capabilities = ['SETUID', 'SETGID', 'SETPCAP', 'KILL', 'CHOWN', 'FOWNER', 'DAC_OVERRIDE'] as const;

/**
 * Makes the mark by which the kernel ends a program for memory, and not its supervisor, the least that the program may have.
 * Asked for only where the kernel has no other way to keep it: many engines can't give it (rootless ones, and those in containers).
 */
export const markCapability = 'SYS_RESOURCE';

/**
 * Whether a kernel of this release has no Landlock that keeps the mark: before 5.19 (docs/protocol.md). False where the release can't
 * be read.
 */
export function lacksLandlock(kernel: string): boolean {
  const [, major, minor] = /^(\d+)\.(\d+)/.exec(kernel) ?? [];
  return major !== undefined && Number(major) * 1_000 + Number(minor) < 5_019;
}

/**
 * The name of a sandbox, which its hosts file gives to its own loopback: the machine's name and addresses are not for
 * programs to know. In a swarm it is the task's id, and this one where the supervisor can't write a hosts file.
 * images/supervisor/etc.c has the same.
 */
export const hostName = 'sandbox';

/** Where names are looked up that no hosts file has: nobody listens there, and that is told at once. */
export const noResolver = { server: '127.0.0.1', search: '.' } as const;

/**
 * No core dumps, and no queues of POSIX messages, which outlive the process. 1 byte of a core, not 0: where core_pattern is
 * a pipe, only that keeps the kernel from starting its handler, as root on the host (core(5)).
 */
export const ulimits = [
  { Name: 'core', Soft: 1, Hard: 1 },
  { Name: 'msgqueue', Soft: 0, Hard: 0 },
] as const;

/** Share of the memory limit that each tmpfs may take; below 1 in sum, so that a full disk is ENOSPC and not the OOM killer. */
const tmpfsShare = { '/sandbox': 0.5, '/tmp': 0.25 } as const;

/** An inode costs the kernel about 1 KiB of the sandbox's memory. */
export const bytesPerInode = 8 * KiB;

/** Least size of /dev/shm: where a sandbox is to have none and the engine can't do without, it is a page. */
export const leastShm = 4096;

/** Bytes of a tmpfs in a sandbox with so much memory: whole pages. */
export function tmpfsBytes(memory: number, at: keyof typeof tmpfsShare): number {
  return Math.floor((memory * tmpfsShare[at]) / 4096) * 4096;
}
