import { headerBytes, ProtocolBreak, writeHeader } from './frames.ts';

/** Reads a payload's fields in order. Every method throws ProtocolBreak if too few bytes are left. */
export class PayloadReader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  #take(length: number): number {
    const at = this.#at;
    if (at + length > this.#bytes.length) throw new ProtocolBreak('a payload that is too short');
    this.#at = at + length;
    return at;
  }

  u8(): number {
    return this.#bytes.readUInt8(this.#take(1));
  }

  u16(): number {
    return this.#bytes.readUInt16BE(this.#take(2));
  }

  u32(): number {
    return this.#bytes.readUInt32BE(this.#take(4));
  }

  i32(): number {
    return this.#bytes.readInt32BE(this.#take(4));
  }

  u64(): bigint {
    return this.#bytes.readBigUInt64BE(this.#take(8));
  }

  i64(): bigint {
    return this.#bytes.readBigInt64BE(this.#take(8));
  }

  /** A u64 that is a safe integer. @throws ProtocolBreak */
  size(): number {
    const value = this.u64();
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw new ProtocolBreak(`a size of ${value}`);
    return Number(value);
  }

  bytes(length: number): Buffer {
    const at = this.#take(length);
    return this.#bytes.subarray(at, at + length);
  }

  str(): Buffer {
    return this.bytes(this.u16());
  }

  rest(): Buffer {
    return this.bytes(this.#bytes.length - this.#at);
  }

  end(): void {
    if (this.#at !== this.#bytes.length) throw new ProtocolBreak(`a payload with ${this.#bytes.length - this.#at} bytes left over`);
  }
}

/** Bytes that a payload may have before its buffer grows. */
const usualBytes = 128;

/** Builds a payload field by field, in one buffer with room for the frame's header in front. */
export class PayloadWriter {
  #buffer = Buffer.allocUnsafe(usualBytes);
  #used = headerBytes;

  /** Makes room for so many bytes, and returns where they begin. */
  #take(length: number): number {
    const at = this.#used;
    this.#used += length;
    if (this.#used > this.#buffer.length) {
      const larger = Buffer.allocUnsafe(Math.max(this.#used, 2 * this.#buffer.length));
      larger.set(this.#buffer.subarray(0, at));
      this.#buffer = larger;
    }
    return at;
  }

  u8(value: number): this {
    const at = this.#take(1);
    this.#buffer.writeUInt8(value, at);
    return this;
  }

  u16(value: number): this {
    const at = this.#take(2);
    this.#buffer.writeUInt16BE(value, at);
    return this;
  }

  u32(value: number): this {
    const at = this.#take(4);
    this.#buffer.writeUInt32BE(value, at);
    return this;
  }

  u64(value: number | bigint): this {
    const at = this.#take(8);
    // A bigint for each size would be made and thrown away.
    if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) {
      this.#buffer.writeUInt32BE(Math.floor(value / 2 ** 32), at);
      this.#buffer.writeUInt32BE(value % 2 ** 32, at + 4);
    } else this.#buffer.writeBigUInt64BE(BigInt(value), at);
    return this;
  }

  i64(value: bigint): this {
    const at = this.#take(8);
    this.#buffer.writeBigInt64BE(value, at);
    return this;
  }

  bytes(value: Uint8Array): this {
    const at = this.#take(value.length);
    this.#buffer.set(value, at);
    return this;
  }

  str(value: Uint8Array | string): this {
    if (typeof value !== 'string') return this.u16(value.length).bytes(value);
    const length = Buffer.byteLength(value);
    this.u16(length);
    const at = this.#take(length);
    this.#buffer.write(value, at, length);
    return this;
  }

  /** Returns the payload. The writer takes no more fields then: they could be written into the same memory. */
  done(): Buffer {
    return this.#buffer.subarray(headerBytes, this.#used);
  }

  /** Returns the payload in its frame, as {@link encodeFrame} makes it, without a copy. @throws RangeError as encodeFrame does */
  frame(type: number): Buffer {
    writeHeader(this.#buffer, type, this.#used - headerBytes);
    return this.#buffer.subarray(0, this.#used);
  }
}
