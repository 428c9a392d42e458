import { readdir, readlink } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { KatafleetError } from '../model/errors.ts';

/** A process that was killed is gone within a few of these, ms. */
const lookMs = 2;
const mostLooks = 500;

/**
 * Ends the daemon's processes that serve a module with this folder: it is their root (`use chroot`), and nobody else's when
 * its name is random. Resolves when they are gone; needs root and the daemon's own PID namespace. @throws rsync.daemon
 */
export async function endConnections(folder: string): Promise<void> {
  for (let look = 0; look < mostLooks; look += 1) {
    const processes = await rootedAt(folder);
    if (processes.length === 0) return;
    for (const id of processes) end(id);
    await sleep(lookMs);
  }
  throw new KatafleetError('rsync.daemon', `processes of the rsync daemon that serve ${folder} did not end after they were killed`);
}

/** Processes whose root is this folder. */
export async function rootedAt(folder: string): Promise<number[]> {
  const names = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const roots = await Promise.all(names.map((name) => readlink(`/proc/${name}/root`).catch(() => undefined))); // it ended meanwhile
  return names.filter((_, index) => roots[index] === folder).map(Number);
}

function end(id: number): void {
  try {
    process.kill(id, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
