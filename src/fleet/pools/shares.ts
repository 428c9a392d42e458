import { setImmediate as turn } from 'node:timers/promises';
import { type Clock, steadyClock, type Timer } from '../../base/clock.ts';
import { aliveClock } from '../../base/deadline.ts';
import { poolKey } from '../../model/profile.ts';
import type { HealthState } from '../../model/node.ts';
import type { WarmPool } from './pool.ts';
import { Presence } from './presence.ts';
import { type FleetPool, SharedPool, type ShareMember } from './share.ts';

export interface PoolSharesOptions {
  /** All nodes of the fleet. */
  members: () => Iterable<Omit<ShareMember, 'present'>>;
  /** How long a node must be down, or back, before its share moves, ms; 0 if absent. */
  awayMs?: number | undefined;
  /** Least time between two distributions, ms; a second if absent. */
  paceMs?: number | undefined;
  onTrouble?: ((message: string) => void) | undefined;
  clock?: Clock;
}

/** A distribution that is to come. */
interface Coming {
  timer: Timer;
  done: Promise<WarmPool[]>;
  resolve: (pools: WarmPool[]) => void;
  /** Whether somebody waits for the pools. */
  all: boolean;
}

/** Distributes the fleet's pools over its nodes: at most once per second, one distribution at a time. */
export class PoolShares {
  readonly #options: PoolSharesOptions;
  readonly #clock: Clock;
  readonly #presence: Presence;
  readonly #pools = new Map<string, SharedPool>();
  #coming: Coming | undefined;
  #under: Promise<void> = Promise.resolve();
  #startedAt = -Infinity;
  #later: { at: number; timer: Timer } | undefined;
  #closed = false;
  /** How many distributions were made. */
  rounds = 0;

  constructor(options: PoolSharesOptions) {
    this.#options = options;
    this.#clock = options.clock ?? steadyClock;
    this.#presence = new Presence(options.awayMs ?? 0);
  }

  /** Sets how many idle sandboxes of an image the whole fleet keeps. */
  want({ image, limits, idle }: FleetPool): void {
    const key = poolKey(image, limits);
    const there = this.#pools.get(key);
    if (there) there.resize(idle);
    else this.#pools.set(key, new SharedPool({ image, limits, idle }, this.#options.onTrouble));
  }

  /** As {@link want} for these pools, and no others: a pool that is not among them gets each node's own bounds. */
  setAll(pools: readonly FleetPool[]): void {
    const kept = new Set(pools.map(({ image, limits }) => poolKey(image, limits)));
    for (const [key, pool] of this.#pools) {
      if (kept.has(key)) continue;
      this.#pools.delete(key);
      pool.drop(this.#members());
    }
    for (const pool of pools) this.want(pool);
    this.soon();
  }

  add(node: string): void {
    this.#presence.add(node);
  }

  remove(node: string): void {
    this.#presence.remove(node);
    for (const pool of this.#pools.values()) pool.forget(node);
    this.soon();
  }

  /** Notes a node's health. A node that is suspect is there: it answers soon, or is down. */
  moved(node: string, to: HealthState): void {
    if (to === 'probing') return;
    this.#presence.note(node, to === 'ready' || to === 'suspect', this.#clock.now(), to === 'unusable');
    this.soon();
  }

  /** Distributes the pools soon. */
  soon(): void {
    if (this.#pools.size > 0 && !this.#closed) this.#schedule();
  }

  /** Distributes the pools, as they are now. Resolves when each ready node has made those of its share. Never rejects. */
  async now(): Promise<WarmPool[]> {
    if (this.#pools.size === 0 || this.#closed) return [];
    const coming = this.#schedule();
    coming.all = true;
    return coming.done;
  }

  #schedule(): Coming {
    if (this.#coming) return this.#coming;
    let resolve: Coming['resolve'] = () => undefined;
    const done = new Promise<WarmPool[]>((resolved) => (resolve = resolved));
    const { paceMs = 1_000 } = this.#options;
    const waitMs = Math.max(0, this.#startedAt + paceMs - this.#clock.now());
    const timer = (this.#options.clock ?? aliveClock).after(waitMs, () => {
      this.#under = this.#under.then(() => this.#distribute());
    });
    return (this.#coming = { timer, done, resolve, all: false });
  }

  #members(): ShareMember[] {
    return Array.from(this.#options.members(), (member) => ({ ...member, present: this.#presence.counts(member.node.settings.name) }));
  }

  async #distribute(): Promise<void> {
    const coming = this.#coming;
    if (!coming || this.#closed) return;
    this.#coming = undefined;
    this.#startedAt = this.#clock.now();
    this.rounds += 1;
    const next = this.#presence.settle(this.#startedAt);
    if (next !== undefined) this.#lookAgain(next - this.#startedAt);
    const members = this.#members();
    const made: Promise<WarmPool[]>[] = [];
    for (const pool of this.#pools.values()) {
      if (made.length > 0 && members.length > 100) await turn(); // many pools do not stall the event loop
      const { pools, again } = pool.step(members, this.#startedAt, coming.all);
      made.push(pools);
      if (again !== undefined) this.#lookAgain(again);
    }
    void Promise.all(made).then((all) => coming.resolve(all.flat()));
  }

  #lookAgain(ms: number): void {
    const at = this.#clock.now() + ms;
    if (this.#closed || (this.#later && this.#later.at <= at)) return;
    this.#later?.timer.cancel();
    const timer = this.#clock.after(ms, () => {
      this.#later = undefined;
      this.soon();
    });
    this.#later = { at, timer };
  }

  /** Distributes no more. Who waits for a distribution gets none. */
  close(): void {
    this.#closed = true;
    this.#later?.timer.cancel();
    this.#coming?.timer.cancel();
    this.#coming?.resolve([]);
    this.#coming = undefined;
  }
}
