import { KiB } from '../../base/units.ts';

/** Bytes that are set aside at once: as many as came already, within these bounds. */
const spare = { least: 1_024, most: 256 * KiB };
const nothing = Buffer.alloc(0);

/**
 * Bytes that come in pieces of any size, kept in a few blocks: a million pieces of one byte take a megabyte, where a list of them
 * would take a hundred. At most 256 KiB more than what came are set aside.
 */
export class Gathered {
  readonly #most: number;
  readonly #full: Buffer[] = [];
  #block = nothing;
  /** Bytes in the block. */
  #used = 0;
  #length = 0;

  /** @param most bytes that will come at most; the caller checks that no more do */
  constructor(most: number) {
    this.#most = most;
  }

  get length(): number {
    return this.#length;
  }

  /** @throws RangeError beyond the most */
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

  /** The last bytes, at most `most` of them, which are no more than a block has at least. */
  last(most: number): Buffer {
    const end = this.#block.subarray(Math.max(0, this.#used - most), this.#used);
    return end.length === most ? end : Buffer.concat([this.#full.at(-1)?.subarray(end.length - most) ?? nothing, end]);
  }

  /** All that came, without spare room. */
  done(): Buffer {
    return Buffer.concat([...this.#full, this.#block.subarray(0, this.#used)], this.#length);
  }
}
