/** A set of small integers that can be sampled: add, delete, has and pick take constant time. */
export class IndexedSet {
  readonly #items: number[] = [];
  readonly #at = new Map<number, number>();

  get size(): number {
    return this.#items.length;
  }

  add(item: number): void {
    if (this.#at.has(item)) return;
    this.#at.set(item, this.#items.length);
    this.#items.push(item);
  }

  delete(item: number): void {
    const at = this.#at.get(item);
    const last = this.#items.pop();
    if (at === undefined || last === undefined) {
      if (last !== undefined) this.#items.push(last);
      return;
    }
    this.#at.delete(item);
    if (last === item) return;
    this.#items[at] = last;
    this.#at.set(last, at);
  }

  has(item: number): boolean {
    return this.#at.has(item);
  }

  /** Returns the item at a place from 0 to size - 1; places change with every delete. */
  pick(at: number): number {
    return this.#items[at] ?? -1;
  }

  [Symbol.iterator](): Iterator<number> {
    return this.#items.values();
  }
}
