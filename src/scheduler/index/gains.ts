/** The slots that have gained room, the latest last. Only the last {@link Gains.remembered} are kept. */
export class Gains {
  static readonly remembered = 64;
  readonly #last = new Int32Array(Gains.remembered);
  #count = 0;

  /** Marks the present: {@link some} can ask about gains after it. */
  get mark(): number {
    return this.#count;
  }

  add(slot: number): void {
    this.#last[this.#count % Gains.remembered] = slot;
    this.#count += 1;
  }

  /** Whether one of the slots that have gained since the mark fulfils `such`; true too if some of them are no longer kept. */
  some(mark: number, such: (slot: number) => boolean): boolean {
    if (this.#count - mark > Gains.remembered) return true;
    for (let at = mark; at < this.#count; at += 1) if (such(this.#last[at % Gains.remembered] ?? 0)) return true;
    return false;
  }
}
