import { randomUUID } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';

const variable = 'KATAFLEET_STORM';

/** Marks this process, so that all processes which it starts, and theirs, can be found by their environment. Returns the mark. */
export function markProcesses(): string {
  const mark = randomUUID();
  process.env[variable] = mark;
  return mark;
}

/** Processes with a mark, other than this one: `PID COMMAND`. Those of a test's own hosts and engines are left out. */
export function processesWith(mark: string): string[] {
  const found: string[] = [];
  for (const pid of readdirSync('/proc')) {
    if (!/^\d+$/.test(pid) || Number(pid) === process.pid) continue;
    try {
      if (!readFileSync(`/proc/${pid}/environ`, 'utf8').includes(`${variable}=${mark}`)) continue;
      const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').join(' ').trim();
      // What scripts/testbed starts has the mark too, and the test ends it later.
      if (words !== '' && !/dockerd|containerd|tini|sshd|testbed|sleep infinity|esbuild/.test(words)) found.push(`${pid} ${words}`);
    } catch {
      continue; // it has ended meanwhile
    }
  }
  return found;
}
