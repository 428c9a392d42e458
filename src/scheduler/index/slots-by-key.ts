import { IndexedSet } from './indexed-set.ts';

const none = new IndexedSet();

/** Slots of nodes by a key: an image, a label or a pool that they have. A key without slots takes no memory. */
export class SlotsByKey {
  readonly #sets = new Map<string, IndexedSet>();

  get(key: string): IndexedSet {
    return this.#sets.get(key) ?? none;
  }

  add(key: string, slot: number): void {
    let set = this.#sets.get(key);
    if (!set) this.#sets.set(key, (set = new IndexedSet()));
    set.add(slot);
  }

  delete(key: string, slot: number): void {
    const set = this.#sets.get(key);
    if (!set) return;
    set.delete(slot);
    if (set.size === 0) this.#sets.delete(key);
  }
}
