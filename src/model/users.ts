/** A range of uids. Each sandbox of a machine has its own uid from it. */
export interface Uids {
  first: number;
  count: number;
}

/**
 * The kernel counts inotify instances, pipe buffers, pending signals and processes by user, across containers. Sandboxes that share a uid
 * could take them from each other. The default lies within the 65,536 that a remapped or a rootless engine
 * has, above what machines give to people and services (1,000 to some thousands) and below what systemd (60,001) and
 * subordinate ids (100,000) take. 41966 is not among them: it is that of cyber-dojo's images.
 */
export const defaultUids: Uids = { first: 45_056, count: 1_024 };

/** More names would make an image's passwd slow to read: 60 bytes each. */
export const mostUids = 4_096;

/** The name, group and home that the user of every sandbox has. images/supervisor/etc.c has the same. */
export const sandboxName = 'sandbox';
export const sandboxGid = 51_966;
export const sandboxHome = '/tmp';

/** Parses `45056-46079`. Returns undefined for anything else, for root's uid and for uids that the kernel does not have. */
export function parseUids(text: string): Uids | undefined {
  const [, from, to] = /^(\d{1,10})-(\d{1,10})$/.exec(text) ?? [];
  const [first, last] = [Number(from), Number(to)];
  if (!(first >= 1 && last >= first && last - first < mostUids && last < 0xffff_fffe)) return undefined;
  return { first, count: last - first + 1 };
}

export const uidsInWords = ({ first, count }: Uids): string => `${first}-${first + count - 1}`;

/** Whether all of a range lies in another. */
export const holdsUids = (all: Uids, some: Uids): boolean => all.first <= some.first && some.first + some.count <= all.first + all.count;

/** Lines of passwd that give every uid of a range the sandbox user's name and home. */
export const passwdLines = ({ first, count }: Uids): string =>
  Array.from({ length: count }, (_, at) => `${sandboxName}:x:${first + at}:${sandboxGid}::${sandboxHome}:/bin/sh\n`).join('');

/** The line of group that names the group of all these users. */
export const groupLine = `${sandboxName}:x:${sandboxGid}:\n`;

/** Returns the group of a uid from a passwd; undefined if it has none. */
export function gidIn(passwd: string, uid: number): number | undefined {
  for (const line of passwd.split('\n')) {
    const [name, , own, gid] = line.split(':');
    if (name !== undefined && name !== '' && own === String(uid) && gid !== undefined && /^\d{1,10}$/.test(gid)) return Number(gid);
  }
  return undefined;
}

/** The user for which cyber-dojo's images are made, and to whom katafleet's own files belong. Each sandbox has another user. */
export const sandboxUser = { uid: 41966, gid: 51966 } as const;
