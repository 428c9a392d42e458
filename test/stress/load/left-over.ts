import { randomUUID } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import Database from 'better-sqlite3';

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

/** Files with records that the journal of a katafleet that has ended in order does not know, and files that it misses. */
export function strayFiles(journal: string): string[] {
  const folder = journal.replace(/\.db$/, '.segments');
  const there = existsSync(folder) ? readdirSync(folder) : [];
  const db = new Database(journal, { readonly: true });
  try {
    const known = db.prepare<[], string>('SELECT name FROM segments').pluck().all();
    return [
      ...there.filter((name) => !known.includes(name)).map((name) => `the file ${name}, which no row of the journal names`),
      ...known.filter((name) => !there.includes(name)).map((name) => `a row of the journal names the file ${name}, which is not there`),
    ];
  } finally {
    db.close();
  }
}
