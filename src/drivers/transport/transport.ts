import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { MiB } from '../../base/units.ts';
import { within } from '../../base/deadline.ts';
import { maskEndpoint } from '../../model/endpoint.ts';
import { KatafleetError } from '../../model/errors.ts';
import { sshError } from './failure.ts';
import { Master, sshEnvironment } from './master.ts';
import { commandLine } from './quote.ts';
import { type ProcessEnd, ProcessStream } from './process-stream.ts';
import { atOf, sessionWords, sshCommand, type SshSettings, type SshTarget, sshTarget } from './target.ts';

/** The result of a remote command. */
export interface CommandResult {
  code: number;
  stdout: string;
  stderr: string;
}

export interface CommandOptions {
  /** Standard input; empty if absent. */
  input?: Readable | Buffer;
  signal?: AbortSignal;
  /** Time limit of the command, from its start (ms); 30 s if absent. */
  timeoutMs?: number;
  /** Whether it may take minutes: other commands do not wait for its place then. */
  long?: boolean;
}

/** Most bytes in the path of a unix socket. ssh appends a dot and 16 letters while it creates one. Source: unix(7), OpenSSH's muxclient. */
const longestPath = 107 - 17;
/** Most bytes that a command may print. */
const mostOutput = 64 * MiB;
const defaultTimeoutMs = 30_000;
/** ssh's exit code for a failure of its own. */
const sshFailed = 255;

/** Runs remote commands over few connections to one host, with the system's ssh. It connects when there is a command to run. */
export class SshTransport {
  readonly endpoint: string;
  /** `user@host`, for messages. */
  readonly at: string;
  readonly #target: SshTarget;
  readonly #settings: SshSettings;
  #masters: Master[] = [];
  #made = 0;
  #folder: string | undefined;
  /** Sessions that will end soon: when all places are taken, a new session waits for one of theirs. */
  #short = 0;
  readonly #waiting = new Set<() => void>();
  readonly #streams = new Set<ProcessStream>();
  #epoch = 0;
  #closed = false;
  readonly #id = randomBytes(4).toString('hex');

  /** @throws endpoint.invalid */
  constructor(endpoint: string, settings: SshSettings = {}) {
    this.endpoint = maskEndpoint(endpoint);
    this.#target = sshTarget(endpoint);
    this.#settings = settings;
    this.at = atOf(this.#target);
  }

  /** Number of connections that are open or being opened. */
  get connections(): number {
    return this.#masters.length;
  }

  /**
   * Starts a command and returns its stdin and stdout as a stream. `judge` decides whether the command's end is an error; a failure of
   * ssh itself always is.
   */
  open(words: readonly string[], judge: (end: ProcessEnd) => Error | undefined = () => undefined): ProcessStream {
    return this.#open(words, false, judge);
  }

  #open(words: readonly string[], short: boolean, judge: (end: ProcessEnd) => Error | undefined): ProcessStream {
    const line = commandLine(words);
    const epoch = this.#epoch;
    const stream: ProcessStream = new ProcessStream(
      () => this.#start(line, short, () => epoch === this.#epoch && !stream.destroyed),
      (end) => {
        if (end.code === undefined && end.stderr === '') return this.#brokenOff();
        return end.code === sshFailed ? sshError(end.stderr, this.#target, this.#settings) : judge(end);
      },
    );
    this.#streams.add(stream);
    void stream.ended.then(() => this.#streams.delete(stream));
    return stream;
  }

  #brokenOff(): KatafleetError {
    return new KatafleetError('engine.unreachable', `the connection to ${this.at} was broken off`);
  }

  async #start(line: string, short: boolean, wanted: () => boolean): Promise<ChildProcessWithoutNullStreams> {
    const master = await this.#place(short, wanted);
    try {
      await master.ready;
      if (!wanted()) throw this.#brokenOff();
      return await master.inTurn(() => {
        const [command = 'ssh', ...rest] = [
          ...sshCommand(this.#settings),
          ...sessionWords(this.#target, this.#settings, master.control, line),
        ];
        // The child has a process group of its own: Ctrl-C in the terminal goes to katafleet, which ends its commands itself.
        const child = spawn(command, rest, { stdio: 'pipe', detached: true, env: sshEnvironment() });
        const ended = new Promise<number | null>((resolve) => {
          child.once('exit', resolve);
          child.once('error', () => child.pid === undefined && resolve(null));
        });
        void ended.then((code) => {
          // The exit of a killed ssh says nothing about its connection.
          if (code === sshFailed && !child.killed) this.#retire(master);
          this.#leave(master, short);
        });
        const spoke = Promise.race([once(child.stdout, 'data'), ended]).catch(() => undefined);
        return { started: child, spoke };
      });
    } catch (error) {
      this.#leave(master, short);
      throw error;
    }
  }

  /**
   * Returns a connection with a free place: the fullest one, so that others can be closed; else a new one, unless a place will be free
   * soon.
   */
  async #place(short: boolean, wanted: () => boolean): Promise<Master> {
    for (;;) {
      if (!wanted()) throw this.#brokenOff();
      const [master] = this.#masters.filter(({ hasRoom }) => hasRoom).sort((a, b) => b.sessions - a.sessions);
      if (!master && this.#short > 0 && this.#masters.some(({ retired }) => !retired)) {
        await new Promise<void>((resolve) => this.#waiting.add(resolve));
        continue;
      }
      const chosen = master ?? this.#connect();
      chosen.enter();
      if (short) this.#short += 1;
      return chosen;
    }
  }

  #connect(): Master {
    if (this.#closed) throw this.#brokenOff();
    this.#made += 1;
    const master = new Master(this.#target, this.#settings, this.#control(this.#made), (idle) => this.#retire(idle));
    this.#masters.push(master);
    master.ready.catch(() => this.#retire(master));
    return master;
  }

  /**
   * Returns the path of a connection's socket. It is in a folder that no other user can enter; if ssh runs as another user, in that
   * user's ~/.ssh, which sshd and ssh require to be private.
   */
  #control(number: number): string {
    if (this.#settings.as !== undefined) return `~/.ssh/katafleet-${this.#id}-${number}`;
    if (this.#folder === undefined) {
      const base = join(tmpdir(), 'katafleet-XXXXXX', '999').length > longestPath ? '/tmp' : tmpdir();
      this.#folder = mkdtempSync(join(base, 'katafleet-'));
    }
    return join(this.#folder, String(number));
  }

  #leave(master: Master, short: boolean): void {
    if (short) this.#short -= 1;
    master.leave();
    this.#wake();
  }

  #wake(): void {
    for (const wake of this.#waiting) wake();
    this.#waiting.clear();
  }

  /** Takes a connection out of use. It is closed when its last session ends. */
  #retire(master: Master): void {
    master.retired = true;
    if (master.sessions === 0) {
      this.#masters = this.#masters.filter((other) => other !== master);
      void master.close();
    }
    this.#wake();
  }

  /**
   * Runs a command until it ends. If the connection turns out to be dead, connects again and runs it a second time, so running `words`
   * twice must be harmless.
   * @throws ssh.*, engine.unreachable, engine.timeout, the signal's reason
   */
  async run(words: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
    options.signal?.throwIfAborted();
    const epoch = this.#epoch;
    const stood = this.#masters.length > 0;
    try {
      return await this.#once(words, options);
    } catch (error) {
      const again = stood && options.input === undefined && epoch === this.#epoch;
      if (!again || !(error instanceof KatafleetError) || error.code !== 'engine.unreachable') throw error;
      options.signal?.throwIfAborted();
      return this.#once(words, options);
    }
  }

  async #once(
    words: readonly string[],
    { input, signal, timeoutMs = defaultTimeoutMs, long = false }: CommandOptions,
  ): Promise<CommandResult> {
    let end: ProcessEnd | undefined;
    const stream = this.#open(words, !long, (seen) => {
      end = seen;
      return undefined;
    });
    const what = words.slice(0, 2).join(' ');
    const late = () => new KatafleetError('engine.timeout', `${this.at} has not ended the command ${what} in time`);
    // Errors of the input are ignored: a command that ends before it has read all its input reports why, and input that breaks off ends
    // the command.
    if (input === undefined || Buffer.isBuffer(input)) stream.end(input);
    else pipeline(input, stream, { end: true }).catch(() => undefined);
    try {
      // A stream without a connection yet cannot be destroyed, so its end is not awaited.
      const stdout = await within(timeoutMs, () => this.#read(stream, what), { signals: [signal], late });
      if (!end) throw this.#brokenOff();
      return { code: end.code ?? sshFailed, stdout, stderr: end.stderr };
    } finally {
      stream.destroy();
    }
  }

  async #read(stream: ProcessStream, what: string): Promise<string> {
    const parts: Buffer[] = [];
    let size = 0;
    for await (const chunk of stream) {
      const part = chunk as Buffer;
      size += part.length;
      if (size > mostOutput) throw new KatafleetError('engine.failed', `${this.at} answers ${what} with more than 64 MiB`);
      parts.push(part);
    }
    return Buffer.concat(parts).toString();
  }

  /** Lets new commands use new connections; the existing ones close when their sessions end. sshd reads a user's rights only at login. */
  renew(): void {
    for (const master of [...this.#masters]) this.#retire(master);
  }

  /** Breaks off all commands; later commands connect anew. Resolves when ssh has closed the connections. */
  async disconnect(): Promise<void> {
    this.#epoch += 1;
    const [masters, folder] = [this.#masters, this.#folder];
    this.#masters = [];
    this.#folder = undefined;
    for (const stream of this.#streams) stream.destroy(this.#brokenOff());
    this.#wake();
    await Promise.all(masters.map((master) => master.close()));
    if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
  }

  /** Breaks off all commands, and does not connect any more. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.disconnect();
  }
}
