import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { sanitized } from './supervisor.ts';

/** The names that the templates of a swarm give to a task. */
export const names = { KATAFLEET_SERVICE: 'service', KATAFLEET_SECRET: 'secret-1', KATAFLEET_TASK: 'task', KATAFLEET_NODE: 'node' };

/** Makes a command PID 1 of a namespace, as in a container. */
export const contained = ['unshare', '--pid', '--fork', '--kill-child', '--mount-proc'];

/** A real supervisor that dials a host. */
export class Dialler {
  readonly child: ChildProcess;
  readonly folder: string;
  readonly secret: string;
  readonly exit: Promise<number | null>;
  stderr = '';

  private constructor(folder: string, secret: string, command: string[], environment: Record<string, string>) {
    this.folder = folder;
    this.secret = secret;
    const [program = '', ...words] = command;
    this.child = spawn(program, words, {
      stdio: ['pipe', 'ignore', 'pipe'],
      env: { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', ASAN_OPTIONS: 'detect_leaks=0', ...environment },
    });
    this.child.stderr?.on('data', (chunk: Buffer) => (this.stderr += chunk.toString()));
    this.exit = once(this.child, 'close').then(([code]) => code as number | null);
  }

  /** Starts a supervisor that dials these addresses, with this key in its secret file. `before` is a command that executes it. */
  static async start(
    to: string | number,
    key: Uint8Array,
    { before = [], args = [], mode = 0o400, environment = names }: DiallerOptions = {},
  ): Promise<Dialler> {
    const base = await mkdtemp('/var/tmp/katafleet-dialler-');
    await chmod(base, 0o755);
    const folder = await mkdtemp(join(base, 'sandbox-'));
    await chmod(folder, 0o755);
    const secret = join(base, 'secret');
    await writeFile(secret, key, { mode });
    await chmod(secret, mode);
    const address = typeof to === 'number' ? `127.0.0.1:${to}` : to;
    const command = [...before, sanitized, '--sandbox', folder, '--dial', address, '--secret', secret, ...args];
    return new Dialler(folder, secret, command, environment);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.child.kill('SIGKILL');
    await this.exit;
    await rm(join(this.folder, '..'), { recursive: true, force: true });
  }
}

export interface DiallerOptions {
  readonly before?: readonly string[];
  readonly args?: readonly string[];
  readonly mode?: number;
  readonly environment?: Record<string, string>;
}
