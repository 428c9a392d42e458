import { KiB } from '../../base/units.ts';

/** Bytes that are allocated ahead: as many as have come so far, within these bounds. */
const spare = { least: 1_024, most: 256 * KiB };
const nothing = Buffer.alloc(0);

/**
 * Gathers bytes that come in pieces of any size in a few blocks: a million pieces of one byte take a megabyte, where a list of them
 * would take a hundred. Allocates at most 256 KiB more than has come.
 */
export class Gathered {
  readonly #most: number;
  readonly #full: Buffer[] = [];
  #block = nothing;
  /** Bytes used in the block. */
  #used = 0;
  #length = 0;

  /** @param most most bytes that will come; the caller checks that */
  constructor(most: number) {
    this.#most = most;
  }

  get length(): number {
    return this.#length;
  }

  /** Adds a piece. @throws RangeError beyond `most` */
  add(piece: Uint8Array): void {
    const length = this.#length + piece.length;
    if (length > this.#most) throw new RangeError(`${length} bytes where at most ${this.#most} were to come`);
    for (let at = 0; at < piece.length;) {
      if (this.#used === this.#block.length) this.#next();
      const part = piece.subarray(at, at + this.#block.length - this.#used);
      this.#block.set(part, this.#used);
      this.#used += part.length;
      this.#length += part.length;
      at += part.length;
    }
  }

  #next(): void {
    if (this.#used > 0) this.#full.push(this.#block);
    const size = Math.min(this.#most - this.#length, spare.most, Math.max(spare.least, this.#length));
    this.#block = Buffer.allocUnsafeSlow(size);
    this.#used = 0;
  }

  /** Returns the last bytes, at most `most`, which must not exceed the least size of a block. */
  last(most: number): Buffer {
    const end = this.#block.subarray(Math.max(0, this.#used - most), this.#used);
    return end.length === most ? end : Buffer.concat([this.#full.at(-1)?.subarray(end.length - most) ?? nothing, end]);
  }

  /** Returns all bytes, without spare memory. */
  done(): Buffer {
    return Buffer.concat([...this.#full, this.#block.subarray(0, this.#used)], this.#length);
  }
}
