import { Duplex } from 'node:stream';
import { KiB } from '../../../base/units.ts';
import { dialFrame } from '../../../protocol/dial.ts';

/** How a sandbox's connection ended: the peer closed it, was silent for too long, the connection broke, or katafleet dropped it. */
export type ConnectionEnd = 'ended' | 'silent' | 'broken' | 'dropped';

const headerBytes = 5;
/** The largest frame: no more is read ahead. A little more than one read of the socket. */
const bufferBytes = 64 * KiB;

/**
 * The supervisor's stream over a connection that it has dialled. ALIVE frames are taken out; all other bytes pass
 * unchanged, without a copy. Memory is bounded by {@link bufferBytes} and what the socket reads at once; reading stops while
 * this stream is not read. `end()` sends FIN. Errors need no listener: {@link carrierClosed} reports them.
 */
export class DialledStream extends Duplex {
  readonly #socket: Duplex;
  readonly #now: () => number;
  readonly #header = Buffer.alloc(headerBytes);
  #headerFilled = 0;
  /** Bytes of the current frame that have not come yet. They only pass through, whatever number the header claims. */
  #left = 0;
  #heard: number;
  #paused = false;
  /** Whether bytes were sent to it: it serves a run, or has served one. */
  spokenTo = false;
  #written: ((error?: Error) => void) | undefined;
  #resolveClosed!: (how: ConnectionEnd) => void;
  /** Resolves when the connection has ended, even if received bytes have not been read yet. */
  readonly carrierClosed: Promise<ConnectionEnd>;

  constructor(socket: Duplex, now: () => number) {
    super({ allowHalfOpen: true, autoDestroy: true, highWaterMark: bufferBytes });
    this.#socket = socket;
    this.#now = now;
    this.#heard = now();
    this.carrierClosed = new Promise((resolve) => {
      this.#resolveClosed = resolve;
    });
    this.on('error', () => undefined);
    socket.on('data', (chunk: Buffer) => this.#take(chunk));
    socket.on('end', () => this.#ended());
    socket.on('error', (error) => {
      this.#resolveClosed('broken');
      this.destroy(error);
    });
    socket.on('drain', () => this.#writable());
    socket.on('close', () => this.#writable(new Error('the sandbox’s connection closed while it was written to')));
  }

  /** How long the peer has been silent while this side was reading (ms): a slow reader is not the peer's fault. */
  silentMs(): number {
    return this.#paused ? 0 : this.#now() - this.#heard;
  }

  /** Restarts the measurement of silence, after a time in which this side did not read. */
  forgive(): void {
    this.#heard = this.#now();
  }

  /** Ends the connection because the peer is silent. */
  giveUp(): void {
    this.#resolveClosed('silent');
    this.destroy(new Error(`no word from the sandbox for ${Math.round(this.silentMs())} ms`));
  }

  #take(chunk: Buffer): void {
    this.#heard = this.#now();
    let from = this.#headerFilled > 0 ? this.#joinHeader(chunk) : 0;
    let at = from + this.#left;
    while (at < chunk.length) {
      if (chunk.length - at < headerBytes) {
        this.#headerFilled = chunk.copy(this.#header, 0, at);
        break;
      }
      const length = chunk.readUInt32BE(at + 1);
      if (chunk[at] === dialFrame.alive && length === 0) {
        this.#pass(chunk, from, at);
        from = at + headerBytes;
      }
      at += headerBytes + length;
    }
    this.#left = Math.max(0, at - chunk.length);
    this.#pass(chunk, from, Math.min(at, chunk.length));
  }

  /** Completes a header that was split between two chunks. Returns where it ends in this chunk. */
  #joinHeader(chunk: Buffer): number {
    const taken = chunk.copy(this.#header, this.#headerFilled, 0, headerBytes - this.#headerFilled);
    this.#headerFilled += taken;
    if (this.#headerFilled < headerBytes) return taken;
    this.#headerFilled = 0;
    this.#left = this.#header.readUInt32BE(1);
    if (this.#header[0] !== dialFrame.alive || this.#left > 0) this.#pass(Buffer.from(this.#header), 0, headerBytes);
    return taken;
  }

  #pass(chunk: Buffer, from: number, to: number): void {
    if (to <= from || this.push(chunk.subarray(from, to))) return;
    this.#paused = true;
    this.#socket.pause();
  }

  /** The peer's process has ended: what was still to be sent is dropped. */
  #ended(): void {
    this.#resolveClosed('ended');
    this.#pass(this.#header, 0, this.#headerFilled);
    this.push(null);
    this.#socket.destroy();
    if (!this.writableEnded) this.end();
  }

  #writable(error?: Error): void {
    const written = this.#written;
    this.#written = undefined;
    written?.(error);
  }

  override _read(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.#heard = this.#now();
    this.#socket.resume();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.spokenTo = true;
    if (this.#socket.destroyed) done(new Error('the sandbox’s connection is closed'));
    else if (this.#socket.write(chunk)) done();
    else this.#written = done;
  }

  override _final(done: (error?: Error | null) => void): void {
    if (this.#socket.destroyed) done();
    else this.#socket.end(done);
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#resolveClosed('dropped');
    this.#socket.destroy();
    done(error);
  }
}
