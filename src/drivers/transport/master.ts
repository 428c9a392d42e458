import { type ChildProcess, spawn } from 'node:child_process';
import { sshError } from './failure.ts';
import { exitWords, masterWords, sshCommand, type SshSettings, type SshTarget } from './target.ts';

/** sshd allows 10 sessions per connection (MaxSessions). Two are left for sessions whose end sshd has not noticed yet. */
export const sessionsPerMaster = 8;
/** An unused connection is closed after this time (ms). */
const idleMs = 60_000;
/** How long it may take to connect, through jump hosts too (ms). */
const openMs = 40_000;
/** After this time a started session that is silent does not delay the next one any longer (ms). */
const startMs = 100;

/** Keeps ssh from asking questions: there is no terminal and no window. */
export const sshEnvironment = (): NodeJS.ProcessEnv => ({ ...process.env, SSH_ASKPASS_REQUIRE: 'never' });

/** One connection to a host, which up to {@link sessionsPerMaster} sessions share. */
export class Master {
  readonly control: string;
  /** Resolves when sessions can be started. @throws ssh.*, engine.unreachable, endpoint.invalid */
  readonly ready: Promise<void>;
  readonly #target: SshTarget;
  readonly #settings: SshSettings;
  readonly #onIdle: (master: Master) => void;
  #sessions = 0;
  /** Whether it takes no new sessions; it is closed when its last session ends. */
  retired = false;
  #starting: Promise<void> = Promise.resolve();
  #idle: NodeJS.Timeout | undefined;
  #closing: Promise<void> | undefined;
  readonly #calls = new Set<ChildProcess>();

  constructor(target: SshTarget, settings: SshSettings, control: string, onIdle: (master: Master) => void) {
    this.#target = target;
    this.#settings = settings;
    this.control = control;
    this.#onIdle = onIdle;
    this.ready = this.#open();
    this.ready.catch(() => {
      this.retired = true;
    });
  }

  get sessions(): number {
    return this.#sessions;
  }

  get hasRoom(): boolean {
    return !this.retired && this.#sessions < sessionsPerMaster;
  }

  async #open(): Promise<void> {
    // ssh exits with 0 when it has connected; the connection goes on in the background.
    const { code, stderr, late } = await this.#call(masterWords(this.#target, this.#settings, this.control), openMs);
    if (code !== 0) throw sshError(late ? `${stderr}\ntimed out after ${openMs} ms` : stderr, this.#target, this.#settings);
  }

  #call(words: readonly string[], ms: number): Promise<{ code: number | null; stderr: string; late: boolean }> {
    const [command = 'ssh', ...rest] = [...sshCommand(this.#settings), ...words];
    const child = spawn(command, rest, { stdio: ['ignore', 'ignore', 'pipe'], detached: true, env: sshEnvironment() });
    this.#calls.add(child);
    return new Promise((resolve) => {
      let stderr = '';
      let late = false;
      const timer = setTimeout(() => {
        late = true;
        child.kill();
        child.stderr.destroy();
      }, ms);
      child.stderr.on('data', (chunk: Buffer) => (stderr = (stderr + chunk.toString()).slice(-16_384)));
      const ended = (code: number | null) => {
        clearTimeout(timer);
        this.#calls.delete(child);
        resolve({ code, stderr, late });
      };
      child.on('error', (error) => {
        stderr += error.message;
        if (child.pid === undefined) ended(null);
      });
      child.on('close', ended);
    });
  }

  /** Takes a place for a session; {@link leave} gives it back. */
  enter(): void {
    this.#sessions += 1;
    clearTimeout(this.#idle);
    this.#idle = undefined;
  }

  leave(): void {
    this.#sessions -= 1;
    if (this.#sessions > 0) return;
    if (this.retired) this.#onIdle(this);
    else this.#idle = setTimeout(() => this.#onIdle(this), idleMs).unref();
  }

  /**
   * Runs starts one after another: calls `start` when the session before has sent output, has ended, or has been silent for {@link
   * startMs}.
   */
  async inTurn<T>(start: () => { started: T; spoke: Promise<unknown> }): Promise<T> {
    const before = this.#starting;
    let done!: () => void;
    this.#starting = new Promise((resolve) => {
      done = resolve;
    });
    await before;
    try {
      const { started, spoke } = start();
      const timer = setTimeout(done, startMs);
      void spoke.then(() => {
        clearTimeout(timer);
        done();
      });
      return started;
    } catch (error) {
      done();
      throw error;
    }
  }

  /** Closes the connection and all sessions of it. Resolves when ssh has answered. */
  close(): Promise<void> {
    this.retired = true;
    clearTimeout(this.#idle);
    if (!this.#closing) for (const opening of this.#calls) opening.kill(); // no caller waits for a connection that is still being opened
    this.#closing ??= this.ready.then(
      async () => {
        // The connection, and its socket with it, may be gone already: then this call fails at once.
        await this.#call(exitWords(this.#target, this.#settings, this.control), 5_000);
      },
      () => undefined,
    );
    return this.#closing;
  }
}
