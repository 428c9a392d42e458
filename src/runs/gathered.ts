/**
 * Bytes that come in pieces of any size, kept in one buffer that grows with what has really come: a million pieces of one byte
 * take a megabyte, where a list of them would take a hundred.
 */
export class Gathered {
  readonly #most: number;
  #bytes: Buffer = Buffer.alloc(0);
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
    if (length > this.#bytes.length) {
      const larger = Buffer.allocUnsafeSlow(Math.min(this.#most, Math.max(length, 2 * this.#bytes.length)));
      this.#bytes.copy(larger, 0, 0, this.#length);
      this.#bytes = larger;
    }
    this.#bytes.set(piece, this.#length);
    this.#length = length;
  }

  /** The last bytes, at most `most` of them. */
  last(most: number): Buffer {
    return this.#bytes.subarray(Math.max(0, this.#length - most), this.#length);
  }

  /** All that came, without spare room. */
  done(): Buffer {
    return this.#length === this.#bytes.length ? this.#bytes : Buffer.from(this.#bytes.subarray(0, this.#length));
  }
}
