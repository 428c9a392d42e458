import type { QueueEntry } from './entry.ts';
import { Heap } from './heap.ts';
import { head, type Item, Lanes, topLevel } from './lanes.ts';
import { Tenants } from './tenants.ts';

/** Bounds of what may wait. */
export interface QueueLimits {
  runs: number;
  /** Of all requests together. */
  bytes: number;
  /** Runs of one tenant. */
  perTenant: number;
}

export type Admission = { admitted: true } | { admitted: false; why: 'runs' | 'bytes' | 'tenant'; retryAfterMs: number };

const [leastRetryMs, mostRetryMs] = [1_000, 60_000];
/** Weight of the newest departure in the mean time between two. */
const departureWeight = 0.05;

/**
 * Who goes next. Levels of priority first, and those who were not served for long are lifted; inside a level tenants take
 * turns by the memory that they were given (start-time fair queueing), so that one tenant's thousand runs don't delay
 * another's one; inside a tenant first come, first served. A shape that has no room is passed over, and others go ahead.
 */
export class FairQueue<T> {
  readonly #limits: QueueLimits;
  readonly #items = new Map<string, Item<T>>();
  readonly #tenants = new Tenants();
  readonly #lanes = new Lanes<T>();
  /** By number, not by item: a request that has left is not kept until its deadline. */
  readonly #deadlines = new Heap<{ at: number; id: string; sequence: number }>((a, b) => a.at < b.at);
  #bytes = 0;
  #last = 0;
  #first = 0;
  #departedAt: number | undefined;
  #departureMs = 100;

  constructor(limits: QueueLimits) {
    this.#limits = limits;
  }

  get size(): number {
    return this.#items.size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Entries of the books behind the queue; they stay in proportion to what waits. */
  get bookSizes(): { tenants: number; lanes: number; places: number; deadlines: number } {
    return { ...this.#lanes.bookSizes, tenants: this.#tenants.size, deadlines: this.#deadlines.size };
  }

  waitingOf(tenant: string): number {
    return this.#tenants.waitingOf(tenant);
  }

  /**
   * Takes a run in, or says when to come back. Ids are unique among those that wait. Where several tenants wait, none may have
   * more than there is room left (dynamic thresholds, Choudhury and Hahne 1998): however many runs some send, the queue is never
   * full for one that sends its first.
   */
  admit(entry: QueueEntry<T>): Admission {
    const { runs, bytes, perTenant } = this.#limits;
    const refuse = (why: 'runs' | 'bytes' | 'tenant', ahead: number): Admission => ({
      admitted: false,
      why,
      retryAfterMs: Math.round(Math.min(mostRetryMs, Math.max(leastRetryMs, this.#departureMs * ahead))),
    });
    const own = this.waitingOf(entry.tenant);
    if (own >= perTenant) return refuse('tenant', perTenant / 10);
    if (this.size >= runs) return refuse('runs', runs / 10);
    if (own < this.size && own >= runs - this.size) return refuse('tenant', own / 10);
    if (this.#bytes + entry.bytes > bytes) return refuse('bytes', this.size / 10);
    this.#add(entry, { sequence: (this.#last += 1), charged: false }, 'last');
    return { admitted: true };
  }

  /** A run that was admitted before a restart waits again: it is not refused, and has its place by its age. */
  restore(entry: QueueEntry<T>): void {
    this.#add(entry, { sequence: (this.#last += 1), charged: false }, 'by age');
  }

  /** A run that was served and lost comes back, before its like; it is neither admitted nor charged anew. */
  requeue(entry: QueueEntry<T>): void {
    this.#add(entry, { sequence: (this.#first -= 1), charged: true }, 'by age');
  }

  #add(entry: QueueEntry<T>, how: { sequence: number; charged: boolean }, where: 'last' | 'by age'): void {
    const tenant = this.#tenants.joins(entry.tenant);
    const item: Item<T> = { entry, lane: this.#lanes.lane(tenant, entry.priority, entry.shape), ...how, gone: false };
    this.#items.set(entry.id, item);
    this.#bytes += entry.bytes;
    this.#deadlines.push({ at: entry.deadline, id: entry.id, sequence: item.sequence });
    this.#lanes.add(item, where, entry.since);
  }

  /**
   * The next run for which `tryPlace` finds room; it leaves the queue. One that it refuses is passed over in this call
   * with all of its shape.
   */
  next(now: number, tryPlace: (entry: QueueEntry<T>) => boolean): QueueEntry<T> | undefined {
    if (this.#items.size === 0) return undefined;
    this.#lanes.rise(now);
    const refused = new Set<string>();
    for (let level = topLevel; level >= 0; level -= 1) {
      for (const lane of this.#lanes.heads(level, refused, now)) {
        const first = head(lane);
        if (!first) continue;
        if (tryPlace(first.entry)) return this.#serve(first, now);
        refused.add(lane.shape);
      }
    }
    return undefined;
  }

  #serve(item: Item<T>, now: number): QueueEntry<T> {
    const { lane, entry } = item;
    this.#tenants.served(lane.tenant, lane.priority, item.charged ? 0 : entry.memory, now);
    this.#leave(item, now);
    if (this.#departedAt !== undefined) {
      const passed = Math.max(0, Math.min(mostRetryMs, now - this.#departedAt));
      this.#departureMs += departureWeight * (passed - this.#departureMs);
    }
    this.#departedAt = now;
    return entry;
  }

  #leave(item: Item<T>, now: number): void {
    const { entry, lane } = item;
    this.#items.delete(entry.id);
    this.#bytes -= entry.bytes;
    this.#lanes.drop(item, now);
    this.#tenants.leaves(lane.tenant);
    if (this.#deadlines.size > 2 * this.#items.size + 1_000)
      this.#deadlines.keep(({ id, sequence }) => this.#items.get(id)?.sequence === sequence);
  }

  /** Takes a cancelled run out. Whether it was in the queue. */
  remove(id: string): boolean {
    const item = this.#items.get(id);
    if (!item) return false;
    this.#leave(item, item.entry.since);
    return true;
  }

  /** Takes out the runs whose deadline has passed. */
  expired(now: number): QueueEntry<T>[] {
    const expired: QueueEntry<T>[] = [];
    for (let next = this.#deadlines.peek(); next; next = this.#deadlines.peek()) {
      const item = this.#items.get(next.id);
      const current = item?.sequence === next.sequence ? item : undefined;
      if (current && next.at > now) break;
      this.#deadlines.pop();
      if (!current) continue;
      this.#leave(current, current.entry.since);
      expired.push(current.entry);
    }
    return expired;
  }

  /** Roughly the place of a run, 1 for the next; for people. */
  position(id: string): number | undefined {
    const item = this.#items.get(id);
    if (!item) return undefined;
    let ahead = 1;
    for (const other of this.#items.values()) {
      const higher = other.entry.priority - item.entry.priority;
      if (higher > 0 || (higher === 0 && other.sequence < item.sequence)) ahead += 1;
    }
    return ahead;
  }
}
