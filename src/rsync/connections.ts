import { readdir, readlink } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { KatafleetError } from '../model/errors.ts';

/** How long to wait between two looks for killed processes (ms). */
const lookMs = 2;
const mostLooks = 500;

/**
 * Kills the daemon's processes that serve a module with this folder. The folder is their root (`use chroot`); its name is random, so no
 * other process has it. Resolves when they have ended. Needs root and the daemon's PID namespace.
 * @throws rsync.daemon
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

/** Returns the ids of processes whose root is this folder. */
export async function rootedAt(folder: string): Promise<number[]> {
  const names = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const roots = await Promise.all(names.map((name) => readlink(`/proc/${name}/root`).catch(() => undefined))); // it ended in the meantime
  return names.filter((_, index) => roots[index] === folder).map(Number);
}

function end(id: number): void {
  try {
    process.kill(id, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
