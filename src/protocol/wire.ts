import { ProtocolBreak } from './frames.ts';

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

/** Builds a payload field by field. */
export class PayloadWriter {
  readonly #parts: Buffer[] = [];

  #number(length: number, write: (buffer: Buffer) => void): this {
    const buffer = Buffer.allocUnsafe(length);
    write(buffer);
    this.#parts.push(buffer);
    return this;
  }

  u8(value: number): this {
    return this.#number(1, (buffer) => buffer.writeUInt8(value));
  }

  u16(value: number): this {
    return this.#number(2, (buffer) => buffer.writeUInt16BE(value));
  }

  u32(value: number): this {
    return this.#number(4, (buffer) => buffer.writeUInt32BE(value));
  }

  u64(value: number | bigint): this {
    return this.#number(8, (buffer) => buffer.writeBigUInt64BE(BigInt(value)));
  }

  i64(value: bigint): this {
    return this.#number(8, (buffer) => buffer.writeBigInt64BE(value));
  }

  bytes(value: Uint8Array): this {
    this.#parts.push(Buffer.from(value.buffer, value.byteOffset, value.byteLength));
    return this;
  }

  str(value: Uint8Array | string): this {
    const bytes = typeof value === 'string' ? Buffer.from(value) : value;
    return this.u16(bytes.length).bytes(bytes);
  }

  done(): Buffer {
    return Buffer.concat(this.#parts);
  }
}
