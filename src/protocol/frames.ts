/** Frame types of docs/protocol.md: the host's below 0x80, the supervisor's above. */
export const hostFrame = {
  open: 0x01,
  file: 0x02,
  data: 0x03,
  dir: 0x04,
  delete: 0x05,
  stdin: 0x06,
  exec: 0x07,
  kill: 0x08,
  collect: 0x09,
  close: 0x0a,
  ping: 0x0b,
  baseline: 0x0c,
  list: 0x0d,
  back: 0x0e,
} as const;
export const supervisorFrame = {
  hello: 0x81,
  started: 0x82,
  stdout: 0x83,
  stderr: 0x84,
  cut: 0x85,
  result: 0x86,
  file: 0x87,
  data: 0x88,
  dir: 0x89,
  deleted: 0x8a,
  omitted: 0x8b,
  collected: 0x8c,
  pong: 0x8d,
  fail: 0x8e,
  listed: 0x8f,
  tail: 0x92,
} as const;

/** Largest payload, bytes. */
export const maxPayload = 65_536;
/** Bytes of a frame's header: its type, and the length of its payload. */
export const headerBytes = 5;

export interface Frame {
  type: number;
  payload: Buffer;
}

/** Encodes one frame. @throws RangeError for a payload above {@link maxPayload} */
export function encodeFrame(type: number, payload: Uint8Array = Buffer.alloc(0)): Buffer {
  checkLength(payload.length); // before a buffer is made
  const frame = Buffer.allocUnsafe(headerBytes + payload.length);
  writeHeader(frame, type, payload.length);
  frame.set(payload, headerBytes);
  return frame;
}

/** Writes a frame's header to the beginning of a buffer. @throws RangeError for a payload above {@link maxPayload} */
export function writeHeader(frame: Buffer, type: number, length: number): void {
  checkLength(length);
  frame.writeUInt8(type, 0);
  frame.writeUInt32BE(length, 1);
}

function checkLength(length: number): void {
  if (length > maxPayload) throw new RangeError(`a frame's payload is at most ${maxPayload} bytes, not ${length}`);
}

/**
 * Cuts a byte stream into frames. Holds at most one unfinished frame, so that its memory is bounded by {@link maxPayload},
 * whatever length a header claims.
 */
export class FrameReader {
  readonly #header = Buffer.alloc(headerBytes);
  #headerFilled = 0;
  #payload: Buffer | undefined;
  #payloadFilled = 0;

  /** Returns the frames that a chunk completes, in order. Payloads may share the chunk's memory. @throws ProtocolBreak */
  *read(chunk: Buffer): Generator<Frame> {
    let at = 0;
    while (at < chunk.length) {
      if (this.#payload === undefined) {
        const taken = Math.min(headerBytes - this.#headerFilled, chunk.length - at);
        chunk.copy(this.#header, this.#headerFilled, at, at + taken);
        this.#headerFilled += taken;
        at += taken;
        if (this.#headerFilled < headerBytes) return;
        const length = this.#header.readUInt32BE(1);
        if (length > maxPayload) throw new ProtocolBreak(`a frame of ${length} bytes; at most ${maxPayload} are allowed`);
        if (chunk.length - at >= length) {
          this.#headerFilled = 0;
          const payload = chunk.subarray(at, at + length);
          at += length;
          yield { type: this.#header.readUInt8(0), payload };
          continue;
        }
        this.#payload = Buffer.allocUnsafe(length);
        this.#payloadFilled = 0;
      }
      const taken = Math.min(this.#payload.length - this.#payloadFilled, chunk.length - at);
      chunk.copy(this.#payload, this.#payloadFilled, at, at + taken);
      this.#payloadFilled += taken;
      at += taken;
      if (this.#payloadFilled < this.#payload.length) return;
      const payload = this.#payload;
      this.#payload = undefined;
      this.#headerFilled = 0;
      yield { type: this.#header.readUInt8(0), payload };
    }
  }

  /** Whether no frame is unfinished, so that the stream may end here. */
  get atBoundary(): boolean {
    return this.#headerFilled === 0 && this.#payload === undefined;
  }
}

/** The other side sent something that the protocol does not allow. */
export class ProtocolBreak extends Error {
  override readonly name = 'ProtocolBreak';
}
