/**
 * Slots ordered by free memory, in sorted arrays: which has the least that still suffices, and how many suffice at all,
 * take logarithmic time. A change moves what lies between the old place and the new one, which for ten thousand slots is a
 * few microseconds at most.
 */
export class FreeOrder {
  #free = new Float64Array(16);
  #slots = new Int32Array(16);
  /** Free memory by slot; absent below 0. */
  readonly #known: number[] = [];
  #size = 0;

  /** Slots in use. */
  get size(): number {
    return this.#size;
  }

  /** Sets a slot; one with less than 0 is out of use. */
  set(slot: number, free: number): void {
    const before = this.#known[slot] ?? -1;
    if (before === free) return;
    this.#known[slot] = free;
    const from = before < 0 ? this.#size : this.#place(before, slot);
    if (before < 0) {
      if (free < 0) return;
      this.#grow();
    }
    if (free < 0) {
      this.#move(from, from + 1, this.#size);
      this.#size -= 1;
      return;
    }
    const to = this.#place(free, slot);
    if (to > from) this.#move(from, from + 1, to);
    else this.#move(to + 1, to, from);
    const at = to > from ? to - 1 : to;
    this.#free[at] = free;
    this.#slots[at] = slot;
    if (before < 0) this.#size += 1;
  }

  /** The place of the first slot with at least so much room; {@link size} when none has. */
  first(room: number): number {
    return this.#place(room, -1);
  }

  /** How many slots have at least so much room. */
  count(room: number): number {
    return this.#size - this.first(room);
  }

  /** The slot at a place between 0 and size - 1. */
  at(place: number): number {
    return this.#slots[place] ?? -1;
  }

  /** Slots with at least so much room, those with the least first; nothing may be set meanwhile. */
  *from(room: number): Generator<number> {
    for (let place = this.first(room); place < this.#size; place += 1) yield this.at(place);
  }

  /** Where (free, slot) is or would be. */
  #place(free: number, slot: number): number {
    let [low, high] = [0, this.#size];
    while (low < high) {
      const middle = (low + high) >> 1;
      const there = this.#free[middle] ?? Infinity;
      if (there < free || (there === free && (this.#slots[middle] ?? 0) < slot)) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Moves the places from `begin` to `end`, `end` excluded, to `target`. */
  #move(target: number, begin: number, end: number): void {
    this.#free.copyWithin(target, begin, end);
    this.#slots.copyWithin(target, begin, end);
  }

  #grow(): void {
    if (this.#size < this.#slots.length) return;
    const [free, slots] = [this.#free, this.#slots];
    this.#free = new Float64Array(2 * free.length);
    this.#free.set(free);
    this.#slots = new Int32Array(2 * slots.length);
    this.#slots.set(slots);
  }
}
