import { randomInt } from 'node:crypto';
import { hour } from '../../base/units.ts';
import type { Uids } from '../../model/users.ts';

/** A uid of a sandbox. */
export interface HeldUid {
  uid: number;
  /** Frees the uid: its sandbox is removed. */
  giveBack(): void;
}

/** OPEN's longest lifetime (docs/protocol.md) plus a day before OPEN, ms. After this time every supervisor has ended. */
export const longestLifeMs = 2 ** 32 + 24 * hour;
/** How many machines are remembered although none of their uids is in use. */
const mostIdleMachines = 1_000;

interface MachineBook {
  next: number;
  /** By uid: until when its sandboxes may live, ms by this object's clock. Only with more sandboxes than uids has a uid several. */
  held: Map<number, Map<object, number>>;
}

/**
 * The uids in use on each machine. They are given out in a circle from a random start. So other katafleets on the same machine rarely
 * use the same uids, and a freed uid is not the next one. A uid is in use until the removal of each of its sandboxes is confirmed, or
 * until they have ended in any case, because a lost node may never confirm a removal.
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

  /** How many machines it remembers. */
  get machines(): number {
    return this.#machines.size;
  }

  /** Takes a uid that no living sandbox of the machine has. If all are in use, takes the one that was given out longest ago. */
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

  /** Forgets machines without uids in use, because machines of a swarm come and go. */
  #forgetIdle(): void {
    for (const [machine, { held }] of this.#machines) {
      if (![...held.keys()].some((uid) => this.#inUse(held, uid))) this.#machines.delete(machine);
    }
  }
}
