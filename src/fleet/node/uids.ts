import { randomInt } from 'node:crypto';
import { hour } from '../../base/units.ts';
import type { Uids } from '../../model/users.ts';

/** A sandbox's uid for as long as it has it. */
export interface HeldUid {
  uid: number;
  /** The sandbox that had it is gone. */
  giveBack(): void;
}

/** OPEN's longest lifetime (docs/protocol.md) and a day for the time before OPEN, ms. After that a supervisor has ended in any case. */
export const longestLifeMs = 2 ** 32 + 24 * hour;
/** Machines that are remembered although none of their uids is in use. */
const mostIdleMachines = 1_000;

interface MachineBook {
  next: number;
  /** By uid: until when each sandbox that has it may live, ms by the book's clock. There is more than one if there are more sandboxes than uids. */
  held: Map<number, Map<object, number>>;
}

/**
 * The uids in use on each machine. They are given out in a circle from a random start, so that other katafleets of the same machine
 * seldom use the same, and a uid that was given back is not the next. A uid is in use until each sandbox that has it is known to be
 * gone, or cannot live any more: no news comes of a node that was given up for good.
 */
export class UidBook {
  readonly range: Uids;
  readonly #now: () => number;
  readonly #machines = new Map<string, MachineBook>();

  /** @param now ms on a clock that is never set */
  constructor(range: Uids, now: () => number = () => performance.now()) {
    this.range = range;
    this.#now = now;
  }

  /** How many machines it knows. */
  get machines(): number {
    return this.#machines.size;
  }

  /** A uid that no living sandbox of the machine has; where all are in use, the one that was given out longest ago. */
  take(machine: string): HeldUid {
    const { first, count } = this.range;
    let book = this.#machines.get(machine);
    if (!book) {
      if (this.#machines.size >= mostIdleMachines) this.#forgetIdle();
      this.#machines.set(machine, (book = { next: randomInt(count), held: new Map() }));
    }
    const { held } = book;
    let at = book.next;
    for (let tries = 0; tries < count && this.#inUse(held, first + at); tries += 1) at = (at + 1) % count;
    book.next = (at + 1) % count;
    const uid = first + at;
    const holder = {};
    const holders = held.get(uid) ?? new Map<object, number>();
    held.set(uid, holders.set(holder, this.#now() + longestLifeMs));
    const giveBack = () => {
      holders.delete(holder);
      if (holders.size === 0 && held.get(uid) === holders) held.delete(uid);
    };
    return { uid, giveBack };
  }

  #inUse(held: MachineBook['held'], uid: number): boolean {
    const holders = held.get(uid);
    if (!holders) return false;
    for (const [holder, until] of holders) if (until <= this.#now()) holders.delete(holder);
    if (holders.size === 0) held.delete(uid);
    return holders.size > 0;
  }

  /** Machines of swarms come and go. */
  #forgetIdle(): void {
    for (const [machine, { held }] of this.#machines) {
      if (![...held.keys()].some((uid) => this.#inUse(held, uid))) this.#machines.delete(machine);
    }
  }
}
