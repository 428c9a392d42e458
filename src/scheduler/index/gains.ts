/** The slots that can take more than before, the latest last. Only the last {@link Gains.remembered} are known. */
export class Gains {
  static readonly remembered = 64;
  readonly #last = new Int32Array(Gains.remembered);
  #count = 0;

  /** What has happened up to now. */
  get mark(): number {
    return this.#count;
  }

  add(slot: number): void {
    this.#last[this.#count % Gains.remembered] = slot;
    this.#count += 1;
  }

  /** Whether one of those since the mark is such; true as well when they are not all known. */
  some(mark: number, such: (slot: number) => boolean): boolean {
    if (this.#count - mark > Gains.remembered) return true;
    for (let at = mark; at < this.#count; at += 1) if (such(this.#last[at % Gains.remembered] ?? 0)) return true;
    return false;
  }
}
