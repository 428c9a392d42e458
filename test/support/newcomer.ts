import assert from 'node:assert/strict';
import { type ChildProcessByStdio, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import type { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { Machine } from './machine.ts';
import type { Said } from './said.ts';

const project = fileURLToPath(new URL('../../', import.meta.url));
/** The folder of root's clone. The service runs as www-data, which can read it there. */
export const clone = '/opt/katafleet';

let quick: Promise<Said> | undefined;

/** Packages that an administrator installs by apt on a server or node. Machines with the same packages share a disk. */
const packages = ['docker.io', 'docker-cli', 'docker-compose', 'rsync', 'debootstrap'];

/** A machine as Debian's installer leaves it, with git, apt's Node and npm, and a fresh clone of the commit here. */
export async function newcomer(): Promise<Machine> {
  const machine = await Machine.get('n1');
  await putClone(machine);
  return machine;
}

async function putClone(machine: Machine): Promise<void> {
  if ((await machine.on(['test', '-d', clone])).code === 0) return;
  const folder = mkdtempSync(join(tmpdir(), 'katafleet-clone-'));
  try {
    execFileSync('git', ['clone', '--quiet', '--depth', '1', `file://${project}`, join(folder, 'katafleet')]);
    const archive = execFileSync('tar', ['-C', folder, '-c', 'katafleet'], { maxBuffer: 1 << 28 });
    const { code, stderr } = await machine.on(['tar', '-C', dirname(clone), '-x', '--no-same-owner'], { input: archive });
    assert.equal(code, 0, stderr);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Runs scripts/quickstart there as root, once for all tests; returns its output. */
export function quickstart(): Promise<Said> {
  quick ??= newcomer().then((machine) => machine.on(['bash', '-c', `cd ${clone} && scripts/quickstart`], { told: process.stderr }));
  return quick;
}

/** A node: a machine with an engine and nothing of katafleet. */
export const node = (): Promise<Machine> => Machine.get('m2', packages);

/** A server: a machine with an engine and the katafleet that was built here. test/machine/quickstart tests a newcomer's own build. */
export async function server(): Promise<Machine> {
  const machine = await Machine.get('m1', packages);
  await putClone(machine);
  const runs = () => machine.on(['node', `${clone}/dist/main.js`, '--version']);
  if ((await runs()).code !== 0) {
    const abi = (await machine.sh('node -p process.versions.modules')).trim();
    assert.equal(process.versions.modules, abi, "what npm ci compiled here can't be used there: use the Node.js that apt has there");
    const listed = execFileSync('npm', ['ls', '--omit=dev', '--all', '--parseable'], { cwd: project, encoding: 'utf8' });
    const modules = listed
      .split('\n')
      .filter((path) => path.includes('node_modules/'))
      .map((path) => relative(project, path));
    const words = ['-C', project, '-c', 'dist', 'images/supervisor/build', ...new Set(modules)];
    await fed(spawn('tar', words, { stdio: ['ignore', 'pipe', 'inherit'] }), machine, ['tar', '-C', clone, '-x', '--no-same-owner']);
    const { code, stderr } = await runs();
    assert.equal(code, 0, stderr);
  }
  return machine;
}

/**
 * The server with images to run. It gets them from this machine's engine in the folder KATAFLEET_TEST_ENGINE, on which `images build`
 * and `images build katafleet` were run: a build inside such a slow machine takes hours.
 */
export async function settled(): Promise<Machine> {
  const machine = await server();
  const names = ['build-essential', 'gcc-assert', 'katafleet'].map((name) => `katafleet/${name}`);
  if ((await machine.on(['docker', 'image', 'inspect', ...names])).code === 0) return machine;
  const folder = process.env['KATAFLEET_TEST_ENGINE'];
  assert.ok(folder, 'KATAFLEET_TEST_ENGINE must name the folder of an engine that has the images');
  const save = ['--host', `unix://${join(folder, 'docker.sock')}`, 'save', ...names];
  await fed(spawn('docker', save, { stdio: ['ignore', 'pipe', 'inherit'] }), machine, ['docker', 'load']);
  return machine;
}

/** Runs a command on the machine; its input is the output of a process here, which is too large for memory. */
async function fed(from: ChildProcessByStdio<null, Readable, null>, machine: Machine, words: readonly string[]): Promise<void> {
  const closed = once(from, 'close');
  const { code, stdout, stderr } = await machine.on(words, { input: from.stdout });
  assert.deepEqual([code, await closed], [0, [0, null]], stderr + stdout);
}

/** Runs the command line of root's clone; `words` can't name a file of this machine. */
export const katafleet = (machine: Machine, ...words: string[]): Promise<Said> =>
  machine.on(['bash', '-c', `cd ${clone} && exec node dist/main.js "$@"`, 'katafleet', ...words]);
