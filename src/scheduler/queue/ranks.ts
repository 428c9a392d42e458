/** Ids in the order in which they came, of which any may leave. Counts those before an id in O(log n) (a Fenwick tree). */
class Line {
  /** Place of each id, from 1 on. */
  #places = new Map<string, number>();
  /** `#sums[i]` is how many of the places from `i - (i & -i) + 1` to `i` are taken. */
  #sums = [0];

  get size(): number {
    return this.#places.size;
  }

  push(id: string): void {
    const at = this.#sums.length;
    this.#places.set(id, at);
    this.#sums.push(1 + this.#sum(at - 1) - this.#sum(at - (at & -at)));
  }

  remove(id: string): boolean {
    const place = this.#places.get(id);
    if (place === undefined) return false;
    this.#places.delete(id);
    for (let at = place; at < this.#sums.length; at += at & -at) this.#sums[at] = (this.#sums[at] ?? 0) - 1;
    if (this.#sums.length > 2 * this.size + 64) this.#close();
    return true;
  }

  /** How many ids came before this one; undefined if it is not here. */
  before(id: string): number | undefined {
    const place = this.#places.get(id);
    return place === undefined ? undefined : this.#sum(place - 1);
  }

  #sum(to: number): number {
    let sum = 0;
    for (let at = to; at > 0; at -= at & -at) sum += this.#sums[at] ?? 0;
    return sum;
  }

  /** Closes the gaps of those that left. */
  #close(): void {
    const ids = [...this.#places.keys()]; // a Map keeps the order in which they came
    this.#places = new Map();
    this.#sums = [0];
    for (const id of ids) this.push(id);
  }
}

/** Where runs stand in the queue: by priority, and by turn within one. Each operation takes O(log n). */
export class Ranks {
  /** By priority. `front`: runs that came back, the last one first; they go before the others. */
  readonly #lines = new Map<number, { front: Line; back: Line }>();
  readonly #priorities = new Map<string, number>();

  /** Adds a run: before all others of its priority, or after them. */
  add(id: string, priority: number, where: 'front' | 'back'): void {
    let lines = this.#lines.get(priority);
    if (!lines) this.#lines.set(priority, (lines = { front: new Line(), back: new Line() }));
    lines[where].push(id);
    this.#priorities.set(id, priority);
  }

  remove(id: string): void {
    const lines = this.#lines.get(this.#priorities.get(id) ?? NaN);
    this.#priorities.delete(id);
    if (lines && !lines.front.remove(id)) lines.back.remove(id);
  }

  /** Returns a run's place, 1 for the next; undefined if it is not here. */
  position(id: string): number | undefined {
    const priority = this.#priorities.get(id);
    const own = this.#lines.get(priority ?? NaN);
    if (priority === undefined || !own) return undefined;
    let ahead = 0;
    for (const [other, { front, back }] of this.#lines) if (other > priority) ahead += front.size + back.size;
    const inFront = own.front.before(id);
    if (inFront !== undefined) return ahead + own.front.size - inFront;
    return ahead + own.front.size + (own.back.before(id) ?? 0) + 1;
  }
}
