/** Keeps the last bytes of what comes in pieces of any size. Its memory is allocated at the beginning and does not grow. */
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

  /** Returns the bytes in a buffer that belongs to the caller, without spare memory. */
  done(): Buffer {
    const at = this.#received % this.#ring.length;
    if (this.#received <= this.#ring.length) return Buffer.from(this.#ring.subarray(0, this.#received));
    return Buffer.concat([this.#ring.subarray(at), this.#ring.subarray(0, at)]);
  }
}
