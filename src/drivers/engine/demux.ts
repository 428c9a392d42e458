import { Duplex } from 'node:stream';

/** Most bytes kept of the container's stderr. The supervisor writes there only when it dies. */
const complaintBytes = 4_096;

/**
 * Reads the supervisor's stream from an attach connection without a terminal. The engine puts 8 bytes (stream, 3 zeros, length) before
 * each piece. Holds at most one chunk of the socket in memory, and stops reading while its own reader is slow.
 * Source: Docker Engine API, "Attach to a container", stream format.
 */
export class AttachStream extends Duplex {
  readonly #socket: Duplex;
  readonly #header = Buffer.alloc(8);
  #headerFilled = 0;
  #left = 0;
  #toStdout = true;
  #complaint = '';
  /** Resolves when the connection is closed, even if bytes from it are still unread. */
  readonly carrierClosed: Promise<void>;

  constructor(socket: Duplex) {
    super({ allowHalfOpen: true, autoDestroy: true });
    this.#socket = socket;
    this.carrierClosed = new Promise((resolve) => socket.once('close', () => resolve()));
    socket.on('data', (chunk: Buffer) => this.#take(chunk));
    socket.on('end', () => this.push(null));
    socket.on('error', (error) => this.destroy(error));
    socket.on('close', () => {
      if (!this.readableEnded) this.push(null);
      if (!this.writableEnded) this.end();
    });
  }

  /** The last {@link complaintBytes} of the container's stderr. */
  get complaint(): string {
    return this.#complaint;
  }

  #take(chunk: Buffer): void {
    let at = 0;
    let room = true;
    while (at < chunk.length) {
      if (this.#left === 0) {
        const taken = Math.min(8 - this.#headerFilled, chunk.length - at);
        chunk.copy(this.#header, this.#headerFilled, at, at + taken);
        this.#headerFilled += taken;
        at += taken;
        if (this.#headerFilled < 8) break;
        this.#headerFilled = 0;
        const stream = this.#header.readUInt8(0);
        if (stream > 2) {
          this.destroy(new Error('the engine’s attach stream has a header that is none'));
          return;
        }
        this.#toStdout = stream !== 2;
        this.#left = this.#header.readUInt32BE(4);
        continue;
      }
      const piece = chunk.subarray(at, at + this.#left);
      at += piece.length;
      this.#left -= piece.length;
      if (this.#toStdout) room = this.push(piece) && room;
      else this.#complaint = (this.#complaint + piece.toString('latin1')).slice(-complaintBytes);
    }
    if (!room) this.#socket.pause();
  }

  override _read(): void {
    this.#socket.resume();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    if (this.#socket.write(chunk)) {
      done();
      return;
    }
    const go = () => {
      this.#socket.off('drain', go).off('close', go);
      done(this.#socket.destroyed ? new Error('the attach connection closed') : null);
    };
    this.#socket.on('drain', go).on('close', go);
  }

  override _final(done: () => void): void {
    if (this.#socket.destroyed) done();
    else this.#socket.end(done);
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#socket.destroy();
    done(error);
  }
}
