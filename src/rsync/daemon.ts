import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, rename, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { Backoff } from '../base/backoff.ts';
import { Memo } from '../base/memo.ts';
import { KatafleetError, messageOf } from '../model/errors.ts';
import { makeFolder } from '../files/make-folder.ts';
import { daemonText } from './modules.ts';
import { checkRsyncVersion, parseRsyncVersion } from './version.ts';

/** An rsync daemon that serves the published modules. */
export interface RsyncDaemon {
  /** Resolves when the daemon answers. @throws rsync.daemon */
  ready(): Promise<void>;
  /** Replaces the served modules by these, given as parts of rsyncd.conf. Any other module is refused. */
  publish(modules: readonly string[]): Promise<void>;
  close(): Promise<void>;
}

export interface DaemonSettings {
  /** The rsync program to run; for the machine's daemon, the one whose version is checked. */
  program: string;
  accept: readonly string[];
  /** A folder that only katafleet uses, with mode 0700. */
  folder: string;
  listen: { host: string; port: number };
  onTrouble?: (message: string) => void;
}

const pauses = { firstMs: 50, mostMs: 5_000 };
const answerMs = 10_000;

/** Checks the version of the rsync program. @throws rsync.daemon if it is missing or has known holes */
async function checkProgram({ program, accept }: DaemonSettings): Promise<void> {
  let said: string;
  try {
    said = (await promisify(execFile)(program, ['--version'], { timeout: answerMs })).stdout;
  } catch (cause) {
    throw new KatafleetError('rsync.daemon', `${program} --version failed: ${messageOf(cause)}`, {
      cause,
      hint: 'on Debian and Ubuntu: apt-get install rsync',
    });
  }
  checkRsyncVersion(parseRsyncVersion(said), accept);
}

/** Replaces a file in one step, because the daemon reads it for every connection. */
async function replaceFile(path: string, text: string): Promise<void> {
  await writeFile(`${path}.new`, text, { mode: 0o600 });
  await rename(`${path}.new`, path);
}

/** Waits for a daemon's greeting. @throws rsync.daemon if none comes in time */
async function greeting({ host, port }: DaemonSettings['listen'], alive: () => boolean): Promise<void> {
  const until = performance.now() + answerMs;
  let last = 'nothing';
  while (alive() && performance.now() < until) {
    const socket = connect({ host, port });
    try {
      const [said] = (await once(socket, 'data', { signal: AbortSignal.timeout(answerMs) })) as [Buffer];
      if (said.toString('latin1').startsWith('@RSYNCD:')) return;
      last = JSON.stringify(said.toString('latin1').slice(0, 80));
    } catch (error) {
      last = messageOf(error);
    } finally {
      socket.destroy();
    }
    await sleep(10);
  }
  throw new KatafleetError('rsync.daemon', `no rsync daemon answers at ${host}:${port} (${last})`);
}

/** Whether another program listens there. Our daemon would fail to start, and the other's greeting would pass for ours. */
async function occupied(listen: DaemonSettings['listen']): Promise<boolean> {
  const socket = connect(listen);
  try {
    await once(socket, 'connect', { signal: AbortSignal.timeout(answerMs) });
    return true;
  } catch {
    return false; // the daemon reports any other fault of the address
  } finally {
    socket.destroy();
  }
}

/** The machine's daemon: its rsyncd.conf includes the file where katafleet writes its modules. */
export class MachineDaemon implements RsyncDaemon {
  readonly #settings: DaemonSettings;
  readonly #file: string;
  readonly #answers = new Memo(() => this.#look());

  constructor(settings: DaemonSettings) {
    this.#settings = settings;
    this.#file = `${settings.folder}/modules.conf`;
  }

  ready(): Promise<void> {
    return this.#answers.get();
  }

  async #look(): Promise<void> {
    await checkProgram(this.#settings);
    await greeting(this.#settings.listen, () => true);
  }

  publish(modules: readonly string[]): Promise<void> {
    return replaceFile(this.#file, `# Written by katafleet, again with each module that it adds or removes.\n${modules.join('')}`);
  }

  close(): Promise<void> {
    return this.publish([]);
  }
}

/**
 * Whether a process runs and is no zombie. Its state is read, because a process loses its command line before its sockets, and a zombie
 * has neither (proc(5), stat).
 */
async function lives(pid: number): Promise<boolean> {
  const stat = await readFile(`/proc/${pid}/stat`, 'latin1').catch(() => '');
  return stat !== '' && !/^[ZX]/.test(stat.slice(stat.lastIndexOf(')') + 2));
}

/** katafleet's own daemon, which is started again whenever it ends. */
export class OwnDaemon implements RsyncDaemon {
  readonly #settings: DaemonSettings;
  readonly #files: { conf: string; pidFile: string; logFile: string };
  #child: ChildProcess | undefined;
  readonly #answers = new Memo(() => this.#start());
  readonly #backoff = new Backoff(pauses);
  #closing = false;

  constructor(settings: DaemonSettings) {
    this.#settings = settings;
    const { folder } = settings;
    this.#files = { conf: `${folder}/rsyncd.conf`, pidFile: `${folder}/rsyncd.pid`, logFile: `${folder}/rsyncd.log` };
  }

  /** The process id of the daemon while it runs. */
  get pid(): number | undefined {
    return this.#child?.pid;
  }

  ready(): Promise<void> {
    return this.#answers.get();
  }

  async #start(): Promise<void> {
    if (this.#closing) throw new KatafleetError('service.stopping', 'katafleet is stopping');
    await sleep(this.#backoff.ms, undefined, { ref: false });
    await checkProgram(this.#settings);
    await this.#endOld();
    const { program, listen } = this.#settings;
    if (await occupied(listen)) {
      throw new KatafleetError('rsync.daemon', `another program listens on ${listen.host}:${listen.port} already`, {
        hint: 'set rsync.listen in the configuration to another address, or use the machine’s own rsync daemon: rsync.daemon: machine',
      });
    }
    const args = ['--daemon', '--no-detach', `--config=${this.#files.conf}`, `--address=${listen.host}`, `--port=${listen.port}`];
    const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'], env: { PATH: process.env['PATH'] ?? '', LANG: 'C' } });
    let said = '';
    child.stderr.on('data', (chunk: Buffer) => {
      said = (said + chunk.toString('latin1')).slice(-1_000);
    });
    process.once('exit', this.#killNow);
    this.#child = child;
    const closed = once(child, 'close').catch(() => undefined); // if spawn failed, there is no pid
    void closed.then(() => this.#ended(child, said));
    try {
      await greeting(listen, () => child.exitCode === null && child.signalCode === null && child.pid !== undefined);
    } catch (error) {
      child.kill('SIGKILL');
      throw new KatafleetError('rsync.daemon', `katafleet's rsync daemon does not start: ${said.trim() || messageOf(error)}`, {
        cause: error,
        hint: `see ${this.#files.logFile}, or set rsync.listen in the configuration to another address`,
      });
    }
    // A daemon that has run for this long counts as started, which resets the backoff.
    setTimeout(() => {
      if (this.#child === child) this.#backoff.succeeded();
    }, pauses.mostMs).unref();
  }

  readonly #killNow = () => void this.#child?.kill('SIGKILL');

  #ended(child: ChildProcess, said: string): void {
    process.off('exit', this.#killNow);
    if (this.#child !== child) return;
    this.#child = undefined;
    this.#answers.forget();
    if (this.#closing) return;
    const how = child.signalCode ?? `exit code ${child.exitCode ?? 'none'}`;
    this.#settings.onTrouble?.(`the rsync daemon ended (${how}) and is started again${said === '' ? '' : `; it said: ${said.trim()}`}`);
    this.#backoff.failed();
    this.ready().catch((error: unknown) => this.#settings.onTrouble?.(messageOf(error)));
  }

  /** Kills the daemon of a katafleet that was killed: it would hold the port and serve the old modules. */
  async #endOld(): Promise<void> {
    const pid = Number(await readFile(this.#files.pidFile, 'utf8').catch(() => ''));
    if (!Number.isInteger(pid) || pid <= 1) return;
    const commandLine = await readFile(`/proc/${pid}/cmdline`, 'latin1').catch(() => '');
    if (!commandLine.split('\0').includes(`--config=${this.#files.conf}`)) return;
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      return; // it has ended by itself
    }
    while (await lives(pid)) await sleep(5);
  }

  async publish(modules: readonly string[]): Promise<void> {
    await makeFolder(this.#settings.folder, 0o700);
    await replaceFile(this.#files.conf, daemonText(modules, { folder: this.#settings.folder, ...this.#files }));
  }

  async close(): Promise<void> {
    this.#closing = true;
    const child = this.#child;
    if (!child) return;
    const closed = once(child, 'close');
    child.kill('SIGKILL');
    await closed;
  }
}
