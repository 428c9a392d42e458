/**
 * Slots ordered by load, with the free memory of each: a tournament tree over two arrays. Finding the least loaded slot with enough
 * room takes logarithmic time if less loaded slots have room too. Finding that no slot has enough room takes constant time.
 */
export class LoadTree {
  #size = 1;
  #least = new Float64Array([Infinity, Infinity]);
  #free = new Float64Array([-1, -1]);

  /** Sets a slot; a slot out of use has infinite load and no room. */
  set(slot: number, load: number, free: number): void {
    while (slot >= this.#size) this.#grow();
    let at = this.#size + slot;
    this.#least[at] = load;
    this.#free[at] = free;
    for (at >>= 1; at >= 1; at >>= 1) {
      const [left, right] = [2 * at, 2 * at + 1];
      const least = Math.min(this.#leastAt(left), this.#leastAt(right));
      const free = Math.max(this.#freeAt(left), this.#freeAt(right));
      if (least === this.#least[at] && free === this.#free[at]) break;
      this.#least[at] = least;
      this.#free[at] = free;
    }
  }

  #leastAt(at: number): number {
    return this.#least[at] ?? Infinity;
  }

  #freeAt(at: number): number {
    return this.#free[at] ?? -1;
  }

  #grow(): void {
    const [least, free, size] = [this.#least, this.#free, this.#size];
    this.#size = size * 2;
    this.#least = new Float64Array(4 * size).fill(Infinity);
    this.#free = new Float64Array(4 * size).fill(-1);
    for (let slot = 0; slot < size; slot += 1) this.set(slot, least[size + slot] ?? Infinity, free[size + slot] ?? -1);
  }

  /** The most free memory of any slot; -1 if none is in use. */
  get mostFree(): number {
    return this.#freeAt(1);
  }

  /**
   * Returns the slots with at least this much room, least loaded first. If many slots with little load have no room (small machines
   * beside large ones), the next one may take long to find, so the search ends after this many steps; each step is a level of the tree.
   */
  *leastLoaded(room: number, steps = Infinity): Generator<number> {
    if (this.#freeAt(1) < room) return;
    const heap = [1];
    const key = (at: number) => this.#leastAt(at);
    for (let step = 0; heap.length > 0 && step < steps; step += 1) {
      const at = popLeast(heap, key);
      if (at >= this.#size) yield at - this.#size;
      else {
        for (const child of [2 * at, 2 * at + 1]) if (this.#freeAt(child) >= room) pushLeast(heap, child, key);
      }
    }
  }
}

function pushLeast(heap: number[], item: number, key: (item: number) => number): void {
  let at = heap.length;
  heap.push(item);
  while (at > 0) {
    const parent = (at - 1) >> 1;
    const above = heap[parent] ?? 0;
    if (key(above) <= key(item)) break;
    heap[at] = above;
    at = parent;
  }
  heap[at] = item;
}

function popLeast(heap: number[], key: (item: number) => number): number {
  const top = heap[0] ?? 0;
  const last = heap.pop() ?? 0;
  if (heap.length === 0) return top;
  let at = 0;
  for (;;) {
    let child = 2 * at + 1;
    if (child >= heap.length) break;
    if (child + 1 < heap.length && key(heap[child + 1] ?? 0) < key(heap[child] ?? 0)) child += 1;
    if (key(last) <= key(heap[child] ?? 0)) break;
    heap[at] = heap[child] ?? 0;
    at = child;
  }
  heap[at] = last;
  return top;
}
