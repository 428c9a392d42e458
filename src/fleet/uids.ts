import { randomInt } from 'node:crypto';
import type { Uids } from '../core/users.ts';

/**
 * Which uids are in use on which machine. They are given out in a circle that begins anywhere, so that other katafleets of the
 * same machine seldom have the same, and one that was given back is not the next.
 */
export class UidBook {
  readonly range: Uids;
  readonly #machines = new Map<string, { next: number; taken: Set<number> }>();

  constructor(range: Uids) {
    this.range = range;
  }

  /** A uid that no living sandbox of the machine has; where all are in use, the one that was given out longest ago. */
  take(machine: string): number {
    const { first, count } = this.range;
    let book = this.#machines.get(machine);
    if (!book) this.#machines.set(machine, (book = { next: randomInt(count), taken: new Set() }));
    const { taken } = book;
    let at = book.next;
    for (let tries = 0; tries < count && taken.has(first + at); tries += 1) at = (at + 1) % count;
    book.next = (at + 1) % count;
    taken.add(first + at);
    return first + at;
  }

  /** The sandbox that had it is gone. */
  giveBack(machine: string, uid: number): void {
    this.#machines.get(machine)?.taken.delete(uid);
  }
}
