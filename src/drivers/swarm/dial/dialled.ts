import { Duplex } from 'node:stream';
import { KiB } from '../../../base/units.ts';
import { dialFrame } from '../../../protocol/dial.ts';

/** How a sandbox's connection was over: the peer closed it, said no word for too long, it broke, or we dropped it. */
export type ConnectionEnd = 'ended' | 'silent' | 'broken' | 'dropped';

const headerBytes = 5;
/** One frame of the largest size: read ahead at most, and a little more than one read of the socket. */
const bufferBytes = 64 * KiB;

/**
 * The supervisor's stream over a connection that it has dialled. ALIVE frames are taken out, all else passes as it came,
 * without being copied. Memory is bounded by {@link bufferBytes} and what the socket reads at once; reading stops while
 * nobody reads this stream. `end()` sends FIN. An error never needs a listener: {@link carrierClosed} tells of it.
 */
export class DialledStream extends Duplex {
  readonly #socket: Duplex;
  readonly #now: () => number;
  readonly #header = Buffer.alloc(headerBytes);
  #headerFilled = 0;
  /** Bytes that the frame under way has still to come; whatever its header claims, they only pass. */
  #left = 0;
  #heard: number;
  #paused = false;
  /** Whether anything was said to it: it serves a run, or has. */
  spokenTo = false;
  #written: ((error?: Error) => void) | undefined;
  #over!: (how: ConnectionEnd) => void;
  /** Resolves when the connection is over, whether or not what it brought has been read. */
  readonly carrierClosed: Promise<ConnectionEnd>;

  constructor(socket: Duplex, now: () => number) {
    super({ allowHalfOpen: true, autoDestroy: true, highWaterMark: bufferBytes });
    this.#socket = socket;
    this.#now = now;
    this.#heard = now();
    this.carrierClosed = new Promise((resolve) => {
      this.#over = resolve;
    });
    this.on('error', () => undefined);
    socket.on('data', (chunk: Buffer) => this.#take(chunk));
    socket.on('end', () => this.#ended());
    socket.on('error', (error) => {
      this.#over('broken');
      this.destroy(error);
    });
    socket.on('drain', () => this.#writable());
    socket.on('close', () => this.#writable(new Error('the sandbox’s connection closed while it was written to')));
  }

  /** How long it has said nothing while we listened, ms: a reader that is slow is not the peer's fault. */
  silentMs(): number {
    return this.#paused ? 0 : this.#now() - this.#heard;
  }

  /** Forgives the silence so far: we did not listen. */
  forgive(): void {
    this.#heard = this.#now();
  }

  /** Gives it up for its silence. */
  giveUp(): void {
    this.#over('silent');
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

  /** The rest of a header that a chunk's border has cut; where it ends in the chunk. */
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

  /** The peer's process has ended, and with it what we had to tell it. */
  #ended(): void {
    this.#over('ended');
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
    this.#over('dropped');
    this.#socket.destroy();
    done(error);
  }
}
