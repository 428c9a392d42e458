import { type ChildProcessWithoutNullStreams } from 'node:child_process';
import { Duplex } from 'node:stream';
import { KiB } from '../../base/units.ts';

/** Bytes of stderr that are kept. */
const complaintBytes = 64 * KiB;

/** How a process ended. */
export interface ProcessEnd {
  /** Its exit code; undefined if it was killed or never started. With ssh it is the remote command's, and 255 is ssh's own failure. */
  code: number | undefined;
  stderr: string;
}

/**
 * The stdin and stdout of a child process, such as ssh with a remote command. It takes writes before the process has started. The
 * process is read only as fast as the stream is. The stream ends when the process has ended, or is destroyed with the error that
 * `judge` returns for that end.
 */
export class ProcessStream extends Duplex {
  readonly #start: () => Promise<ChildProcessWithoutNullStreams>;
  readonly #judge: (end: ProcessEnd) => Error | undefined;
  #child: ChildProcessWithoutNullStreams | undefined;
  #complaint = '';
  #ended = false;
  #settle!: (end: ProcessEnd) => void;
  #leave!: () => void;
  /** Resolves when all that the process printed has been read and it has ended, or was never started. */
  readonly ended: Promise<ProcessEnd>;
  /** Resolves when the process has ended, whether or not its output has been read. */
  readonly carrierClosed: Promise<void>;

  constructor(start: () => Promise<ChildProcessWithoutNullStreams>, judge: (end: ProcessEnd) => Error | undefined) {
    super({ allowHalfOpen: true });
    this.#start = start;
    this.#judge = judge;
    this.ended = new Promise((resolve) => {
      this.#settle = resolve;
    });
    this.carrierClosed = new Promise((resolve) => {
      this.#leave = resolve;
    });
  }

  get complaint(): string {
    return this.#complaint;
  }

  override _construct(done: (error?: Error | null) => void): void {
    this.#start().then(
      (child) => {
        this.#attach(child);
        done();
      },
      (error: unknown) => done(this.destroyed ? null : (error as Error)), // the caller of destroy has the reason
    );
  }

  #attach(child: ChildProcessWithoutNullStreams): void {
    this.#child = child;
    child.stdout.on('data', (chunk: Buffer) => {
      if (!this.push(chunk)) child.stdout.pause();
    });
    child.stderr.on('data', (chunk: Buffer) => {
      this.#complaint = (this.#complaint + chunk.toString()).slice(-complaintBytes);
    });
    // Ignores a broken pipe: the end of the command has the reason.
    child.stdin.on('error', () => undefined);
    child.stdout.on('error', () => undefined);
    child.on('error', (error) => {
      if (child.pid === undefined) this.#finish({ code: undefined, stderr: error.message });
    });
    child.on('exit', () => this.#leave());
    child.on('close', (code) => this.#finish({ code: code ?? undefined, stderr: this.#complaint }));
  }

  #finish(end: ProcessEnd): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#leave();
    this.#settle(end);
    const error = this.#judge(end);
    if (error) this.destroy(error);
    else {
      this.push(null);
      if (!this.writableEnded) this.end();
    }
  }

  override _read(): void {
    this.#child?.stdout.resume();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    const stdin = this.#child?.stdin;
    // A command that closed its input is about to end, and its end has the reason: until then its input is dropped.
    if (!stdin || this.#ended || stdin.destroyed || stdin.write(chunk)) {
      done();
      return;
    }
    const go = () => {
      stdin.off('drain', go).off('close', go);
      done();
    };
    stdin.on('drain', go).on('close', go);
  }

  override _final(done: () => void): void {
    this.#child?.stdin.end();
    done();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    const child = this.#child;
    if (!child) this.#finish({ code: undefined, stderr: error?.message ?? '' });
    else if (!this.#ended) {
      // The process sees the end of its input. A process of another user cannot be killed; it ends when its pipes are closed.
      child.stdin.destroy();
      child.stdout.destroy();
      child.kill();
    }
    done(error);
  }

  // The methods that node:http calls on a socket.
  setKeepAlive(): this {
    return this;
  }

  setNoDelay(): this {
    return this;
  }

  setTimeout(): this {
    return this;
  }

  ref(): this {
    this.#child?.ref();
    return this;
  }

  unref(): this {
    this.#child?.unref();
    return this;
  }
}
