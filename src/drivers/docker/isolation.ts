import { KiB } from '../../base/units.ts';

/** The isolation that every driver gives a sandbox, in the terms of its engine. */

/** The supervisor's path in every image. */
export const supervisorPath = '/.katafleet/supervisor';

/**
 * The capabilities that the supervisor needs as root in its container, and no more: to change to the user, to kill the user's
 * processes, and to write and read the user's files whatever their modes. It drops them all for the user's code.
 */
export const capabilities = ['SETUID', 'SETGID', 'SETPCAP', 'KILL', 'CHOWN', 'FOWNER', 'DAC_OVERRIDE'] as const;

/**
 * With it, the supervisor raises the oom_score_adj of the user's programs together with the lowest value that they may set, so that the
 * kernel kills them before the supervisor when memory runs out. Added only if the kernel has no other way to protect that value,
 * because many engines cannot give it (rootless ones and those in containers).
 */
export const markCapability = 'SYS_RESOURCE';

/**
 * Whether a kernel lacks the Landlock that protects this value: releases before 5.19 do (docs/protocol.md). False if the release cannot
 * be read.
 */
export function lacksLandlock(kernel: string): boolean {
  const [, major, minor] = /^(\d+)\.(\d+)/.exec(kernel) ?? [];
  return major !== undefined && Number(major) * 1_000 + Number(minor) < 5_019;
}

/**
 * The host name of a sandbox, which its hosts file maps to its own loopback: programs need not know the machine's name and addresses.
 * In a swarm, the host name is the task's id; this one is used if the supervisor cannot write a hosts file. images/supervisor/etc.c has
 * the same name.
 */
export const hostName = 'sandbox';

/** The resolver for names that are not in a hosts file. Nothing listens there, so that a lookup fails at once. */
export const noResolver = { server: '127.0.0.1', search: '.' } as const;

/**
 * No core dumps, and no POSIX message queues, which outlive a process. The core limit is 1 byte, not 0: if core_pattern is a pipe, only
 * 1 keeps the kernel from starting its handler as root on the host (core(5)).
 */
export const ulimits = [
  { Name: 'core', Soft: 1, Hard: 1 },
  { Name: 'msgqueue', Soft: 0, Hard: 0 },
] as const;

/** The share of the memory limit that each tmpfs may take. The sum is below 1, so that a full disk gives ENOSPC and not the OOM killer. */
const tmpfsShare = { '/sandbox': 0.5, '/tmp': 0.25 } as const;

/** The kernel uses about 1 KiB of the sandbox's memory for an inode. */
export const bytesPerInode = 8 * KiB;

/** The least size of /dev/shm: one page, for an engine that cannot leave it out. */
export const leastShm = 4096;

/** Returns the size of a tmpfs in a sandbox with this much memory: whole pages. */
export function tmpfsBytes(memory: number, at: keyof typeof tmpfsShare): number {
  return Math.floor((memory * tmpfsShare[at]) / 4096) * 4096;
}
