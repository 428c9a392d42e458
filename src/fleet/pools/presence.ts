/** Whether a node counts, and since when that is to change, ms on a steady clock. */
interface PresenceEntry {
  counts: boolean;
  changesAt?: number;
}

/**
 * Which nodes count for the shares of pools. A node counts from the start; it stops after it was down for a while, and counts again
 * after it was back for a while. So a node that flaps moves no idle sandboxes.
 */
export class Presence {
  readonly #awayMs: number;
  readonly #entries = new Map<string, PresenceEntry>();
  readonly #changing = new Map<string, PresenceEntry>();

  /** `awayMs`: how long a node must be down or back before that counts. */
  constructor(awayMs: number) {
    this.#awayMs = awayMs;
  }

  add(name: string): void {
    this.#entries.set(name, { counts: true });
  }

  remove(name: string): void {
    this.#entries.delete(name);
    this.#changing.delete(name);
  }

  counts(name: string): boolean {
    return this.#entries.get(name)?.counts ?? false;
  }

  /** Notes whether a node is there. `forGood`: it counts or not at once, because this does not change by itself. */
  note(name: string, there: boolean, now: number, forGood = false): void {
    const entry = this.#entries.get(name);
    if (!entry) return;
    if (entry.counts === there) {
      delete entry.changesAt;
      this.#changing.delete(name);
    } else if (forGood || this.#awayMs === 0) {
      entry.counts = there;
      delete entry.changesAt;
      this.#changing.delete(name);
    } else {
      entry.changesAt ??= now + this.#awayMs;
      this.#changing.set(name, entry);
    }
  }

  /** Makes the changes whose time has come. Returns when the next one is due; undefined if none is. */
  settle(now: number): number | undefined {
    let next: number | undefined;
    for (const [name, entry] of this.#changing) {
      const { changesAt = now } = entry;
      if (changesAt > now) {
        next = Math.min(next ?? Infinity, changesAt);
        continue;
      }
      entry.counts = !entry.counts;
      delete entry.changesAt;
      this.#changing.delete(name);
    }
    return next;
  }
}
