/**
 * Slots ordered by free memory, in sorted arrays. Finding the slot with the least sufficient memory, and counting those with enough,
 * takes logarithmic time. A change moves the entries between the old place and the new one: for ten thousand slots a few microseconds
 * at most.
 */
export class FreeOrder {
  #free = new Float64Array(16);
  #slots = new Int32Array(16);
  /** Free memory by slot; below 0 for an absent slot. */
  readonly #known: number[] = [];
  #size = 0;

  /** Number of slots in use. */
  get size(): number {
    return this.#size;
  }

  /** Sets a slot's free memory; less than 0 takes the slot out of use. */
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

  /** Returns the place of the first slot with at least this much free; {@link size} if none has. */
  first(room: number): number {
    return this.#place(room, -1);
  }

  /** Returns the number of slots with at least this much free. */
  count(room: number): number {
    return this.#size - this.first(room);
  }

  /** Returns the slot at a place from 0 to size - 1. */
  at(place: number): number {
    return this.#slots[place] ?? -1;
  }

  /** Returns the slots with at least this much free, least first. No slot may be set meanwhile. */
  *from(room: number): Generator<number> {
    for (let place = this.first(room); place < this.#size; place += 1) yield this.at(place);
  }

  /** Returns the place where (free, slot) is or would be. */
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

  /** Moves the places from `begin` to `end` (excluded) to `target`. */
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
