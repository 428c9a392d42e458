import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { atExit } from './at-exit.ts';
import { eventually } from './eventually.ts';
import type { Said } from './said.ts';

const script = fileURLToPath(new URL('../../scripts/testbed', import.meta.url));
const project = fileURLToPath(new URL('../../', import.meta.url));
/** The folder of the machines. Keep its path short: a socket's path has at most 107 bytes. */
const folder = process.env['TESTBED_MACHINES'] ?? mkdtempSync('/tmp/kfm-');
const env = { ...process.env, TESTBED_MACHINES: folder };
/** Keeps the machines if TESTBED_MACHINES names the folder, and reuses them: a repeated test then starts within minutes. */
const stay = process.env['TESTBED_MACHINES'] !== undefined;
/** How long a machine may take until its last unit is up, s. A machine is 2 to 10 times slower than this one. */
const bootSeconds = 900;

type Input = string | Buffer | Readable;

/** Runs a command that may take hours; returns its output as text, and copies it to `told` while it comes. */
async function run(words: readonly string[], input: Input = '', told?: NodeJS.WritableStream): Promise<Said> {
  const child = spawn(script, ['machine', ...words], { env, stdio: 'pipe' });
  const said: Said = { code: null, stdout: '', stderr: '' };
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => (said.stdout += chunk));
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => (said.stderr += chunk));
  if (told) for (const stream of [child.stdout, child.stderr]) stream.pipe(told, { end: false });
  child.stdin.on('error', () => undefined); // the command may end without reading its input
  if (input instanceof Readable) input.pipe(child.stdin);
  else child.stdin.end(input);
  [said.code] = (await once(child, 'close')) as [number | null];
  return said;
}

const machines = new Map<string, Promise<Machine>>();

/** An ordinary machine of scripts/testbed. The tests of a process share it; it is removed when the process ends. */
export class Machine {
  readonly name: string;

  private constructor(name: string) {
    this.name = name;
  }

  /** Returns the machine; makes and boots it at the first call. `packages` are Debian packages, installed before it boots. */
  static get(name: string, packages: readonly string[] = []): Promise<Machine> {
    const made = machines.get(name) ?? Machine.#up(name, packages);
    machines.set(name, made);
    return made;
  }

  static async #up(name: string, packages: readonly string[]): Promise<Machine> {
    if (!stay && machines.size === 0)
      atExit(() => {
        spawnSync(script, ['machine', 'down'], { env, stdio: 'inherit' });
        rmSync(folder, { recursive: true, force: true });
      });
    const machine = new Machine(name);
    if (!existsSync(join(folder, name, 'number'))) {
      const { code, stderr } = await run(['up', name, ...(packages.length === 0 ? [] : ['--with', packages.join(',')])]);
      assert.equal(code, 0, stderr);
    }
    await machine.booted();
    return machine;
  }

  /** Runs a command in it, as root or another user; copies the output to `told` while it comes. */
  on(
    words: readonly string[],
    { user = 'root', input = '', told }: { user?: string; input?: Input; told?: NodeJS.WritableStream } = {},
  ): Promise<Said> {
    return run(['sh', user === 'root' ? this.name : `${user}@${this.name}`, ...words], input, told);
  }

  /** Runs a bash script that must succeed; returns its output. */
  async sh(text: string, user = 'root'): Promise<string> {
    const { code, stdout, stderr } = await this.on(['bash', '-euo', 'pipefail', '-c', text], { user });
    assert.equal(code, 0, `${text} on ${this.name}: ${stderr}${stdout}`);
    return stdout;
  }

  /** Copies files of the project into a folder of it; paths are relative to the project. */
  async put(files: readonly string[], into: string): Promise<void> {
    const { code, stderr } = await run(['put', this.name, ...files.map((file) => join(project, file)), into]);
    assert.equal(code, 0, stderr);
  }

  /** Cuts the power and boots again with the same disk. */
  async cutPower(): Promise<void> {
    for (const verb of ['kill', 'start']) {
      const { code, stderr } = await run([verb, this.name]);
      assert.equal(code, 0, stderr);
    }
    await this.booted();
  }

  /** Waits until systemd has finished the boot. */
  async booted(): Promise<void> {
    await eventually(`${this.name} is up`, bootSeconds, async () => {
      const state = (await this.on(['systemctl', 'is-system-running', '--wait'])).stdout.trim();
      assert.match(state, /^(running|degraded)$/);
    });
  }

  /** Forwards its engine's socket to this machine by ssh, until the process ends or the returned function is called. */
  async engine(): Promise<{ endpoint: string; close: () => void }> {
    const socket = join(folder, this.name, `engine-${process.pid}.sock`);
    rmSync(socket, { force: true });
    const words = ['machine', 'ssh', this.name, '-N', '-o', 'ExitOnForwardFailure=yes', '-L', `${socket}:/var/run/docker.sock`];
    const child = spawn(script, words, { env, stdio: ['ignore', 'ignore', 'inherit'], detached: true });
    const end = () => {
      if (child.exitCode === null && child.pid !== undefined) process.kill(-child.pid); // the script and its ssh
      rmSync(socket, { force: true });
    };
    const forget = atExit(end);
    await eventually('the engine is forwarded', 60, () => {
      assert.ok(existsSync(socket));
      return Promise.resolve();
    });
    const close = () => {
      forget();
      end();
    };
    return { endpoint: `unix://${socket}`, close };
  }
}
