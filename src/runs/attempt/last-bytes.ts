/** The last bytes, at most so many, of what comes in pieces of any size. They take as much memory from the beginning on. */
export class LastBytes {
  readonly #ring: Buffer;
  #received = 0;

  constructor(most: number) {
    this.#ring = Buffer.allocUnsafeSlow(most);
  }

  add(piece: Uint8Array): void {
    const most = this.#ring.length;
    const last = piece.subarray(Math.max(0, piece.length - most));
    this.#received += piece.length;
    if (last.length === 0) return;
    const at = (this.#received - last.length) % most;
    const first = last.subarray(0, most - at);
    this.#ring.set(first, at);
    this.#ring.set(last.subarray(first.length), 0);
  }

  /** They are the caller's own: without spare room. */
  done(): Buffer {
    const at = this.#received % this.#ring.length;
    if (this.#received <= this.#ring.length) return Buffer.from(this.#ring.subarray(0, this.#received));
    return Buffer.concat([this.#ring.subarray(at), this.#ring.subarray(0, at)]);
  }
}
