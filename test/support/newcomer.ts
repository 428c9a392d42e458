import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Machine } from './machine.ts';
import type { Said } from './said.ts';

const project = fileURLToPath(new URL('../../', import.meta.url));
/** Where root's clone lies. */
export const clone = '/root/katafleet';

let quick: Promise<Said> | undefined;

/** A machine as Debian's installer leaves it, with git, and apt's Node and npm, and a fresh clone of what is committed here. */
export async function newcomer(): Promise<Machine> {
  const machine = await Machine.get('n1');
  if ((await machine.on(['test', '-d', clone])).code === 0) return machine;
  const folder = mkdtempSync(join(tmpdir(), 'katafleet-clone-'));
  try {
    execFileSync('git', ['clone', '--quiet', '--depth', '1', `file://${project}`, join(folder, 'katafleet')]);
    const archive = execFileSync('tar', ['-C', folder, '-c', 'katafleet'], { maxBuffer: 1 << 28 });
    const { code, stderr } = await machine.on(['tar', '-C', '/root', '-x', '--no-same-owner'], { input: archive });
    assert.equal(code, 0, stderr);
  } finally {
    rmSync(folder, { recursive: true });
  }
  return machine;
}

/** scripts/quickstart there as root, once for all tests: what it said. */
export function quickstart(): Promise<Said> {
  quick ??= newcomer().then((machine) => machine.on(['bash', '-c', `cd ${clone} && scripts/quickstart`], { told: process.stderr }));
  return quick;
}

/** The newcomer's machine with katafleet built, an engine and images for runs: what the other tests stand on. */
export async function settled(): Promise<Machine> {
  const machine = await newcomer();
  const ready = `cd ${clone} && node dist/main.js images list --json | grep -q '"name":"gcc-assert"[^}]*"built":true'`;
  if ((await machine.on(['bash', '-c', ready])).code !== 0) {
    const { code, stderr } = await quickstart();
    assert.equal(code, 0, stderr);
  }
  return machine;
}

/** The command line of root's clone; `words` may name no file of this machine. */
export const katafleet = (machine: Machine, ...words: string[]): Promise<Said> =>
  machine.on(['bash', '-c', `cd ${clone} && exec node dist/main.js "$@"`, 'katafleet', ...words]);
