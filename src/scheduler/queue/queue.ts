import type { QueueEntry } from './entry.ts';
import { Heap } from './heap.ts';
import { head, type Item, Lanes, topLevel } from './lanes.ts';
import { Ranks } from './ranks.ts';
import { Tenants } from './tenants.ts';

/** Bounds of the queue. */
export interface QueueLimits {
  runs: number;
  /** Bytes of all requests together. */
  bytes: number;
  /** Runs of one tenant. */
  perTenant: number;
  /** Shapes of one tenant's runs; 256 if absent. */
  shapesPerTenant?: number;
}

/** Why a run is not admitted: the bound that it would pass. */
export type Fullness = 'runs' | 'bytes' | 'tenant' | 'shapes';
export type Admission = { admitted: true } | { admitted: false; why: Fullness; retryAfterMs: number };

const usualShapes = 256;

const [leastRetryMs, mostRetryMs] = [1_000, 60_000];
/** Weight of the latest departure in the mean time between two departures. */
const departureWeight = 0.05;

/**
 * Decides which run goes next. Higher priority levels go first, and runs that were not served for long rise. Inside a level, tenants
 * take turns by the memory that their runs were given (start-time fair queueing), so that a thousand runs of one tenant do not delay a
 * single run of another. Inside a tenant, the first run goes first. A shape without room is passed over, and other runs go ahead.
 */
export class FairQueue<T> {
  readonly #limits: QueueLimits;
  readonly #items = new Map<string, Item<T>>();
  readonly #tenants = new Tenants();
  readonly #lanes = new Lanes<T>();
  /** Refers to runs by number, so that a request that has left the queue is not kept until its deadline. */
  readonly #deadlines = new Heap<{ at: number; id: string; sequence: number }>((a, b) => a.at < b.at);
  readonly #ranks = new Ranks();
  #bytes = 0;
  /** Room of runs that are not in the queue yet. */
  /** What runs will take that have reserved their room: of each tenant, the number of runs of each shape. */
  readonly #reserved = { runs: 0, bytes: 0, ofTenants: new Map<string, Map<string, number>>() };
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

  /** Sizes of the queue's internal tables; they stay in proportion to the waiting runs. */
  get bookSizes(): { tenants: number; lanes: number; places: number; deadlines: number } {
    return { ...this.#lanes.bookSizes, tenants: this.#tenants.size, deadlines: this.#deadlines.size };
  }

  waitingOf(tenant: string): number {
    return this.#tenants.waitingOf(tenant);
  }

  /** Admits a run, see {@link reserve}. */
  admit(entry: QueueEntry<T>): Admission {
    const answer = this.reserve(entry);
    if (answer.admitted) this.enter(entry);
    return answer;
  }

  /** Adds a run whose room was reserved. */
  enter(entry: QueueEntry<T>): void {
    this.giveBack(entry);
    this.#add(entry, { sequence: (this.#last += 1), charged: false }, 'last');
  }

  /** Gives back the room that was reserved for a run. */
  giveBack({ tenant, bytes, shape }: QueueEntry<T>): void {
    const { ofTenants } = this.#reserved;
    this.#reserved.runs -= 1;
    this.#reserved.bytes -= bytes;
    const shapes = ofTenants.get(tenant);
    const left = (shapes?.get(shape) ?? 0) - 1;
    if (left > 0) shapes?.set(shape, left);
    else shapes?.delete(shape);
    if (shapes?.size === 0) ofTenants.delete(tenant);
  }

  /**
   * Reserves the room of a run that enters the queue later, or says when to come back. Ids are unique among waiting runs. If several
   * tenants wait, none may have more runs waiting than there are places left (dynamic thresholds, Choudhury and Hahne 1998): however many
   * runs some tenants send, the queue is never full for a tenant's first one.
   */
  reserve(entry: QueueEntry<T>): Admission {
    const { runs, bytes, perTenant, shapesPerTenant = usualShapes } = this.#limits;
    const refuse = (why: Fullness, ahead: number): Admission => ({
      admitted: false,
      why,
      retryAfterMs: Math.round(Math.min(mostRetryMs, Math.max(leastRetryMs, this.#departureMs * ahead))),
    });
    const { ofTenants, ...reserved } = this.#reserved;
    const shapes = ofTenants.get(entry.tenant) ?? new Map<string, number>();
    const own = this.waitingOf(entry.tenant) + Array.from(shapes.values()).reduce((sum, count) => sum + count, 0);
    const size = this.size + reserved.runs;
    if (own >= perTenant) return refuse('tenant', perTenant / 10);
    if (size >= runs) return refuse('runs', runs / 10);
    if (own < size && own >= runs - size) return refuse('tenant', own / 10);
    if (this.#tenants.hasShapes(entry.tenant, entry.shape, shapesPerTenant, shapes)) return refuse('shapes', own / 10);
    if (this.#bytes + reserved.bytes + entry.bytes > bytes) return refuse('bytes', size / 10);
    this.#reserved.runs += 1;
    this.#reserved.bytes += entry.bytes;
    ofTenants.set(entry.tenant, shapes.set(entry.shape, (shapes.get(entry.shape) ?? 0) + 1));
    return { admitted: true };
  }

  /** Adds a run that was admitted before a restart: it is not refused, and takes its place by its age. */
  restore(entry: QueueEntry<T>): void {
    this.#add(entry, { sequence: (this.#last += 1), charged: false }, 'by age');
  }

  /** Adds a run that was served and then lost. It goes before the other runs of its lane and is neither admitted nor charged again. */
  requeue(entry: QueueEntry<T>): void {
    this.#add(entry, { sequence: (this.#first -= 1), charged: true }, 'by age');
  }

  #add(entry: QueueEntry<T>, how: { sequence: number; charged: boolean }, where: 'last' | 'by age'): void {
    const tenant = this.#tenants.joins(entry.tenant);
    const item: Item<T> = { entry, lane: this.#lanes.lane(tenant, entry.priority, entry.shape), ...how, gone: false };
    this.#items.set(entry.id, item);
    this.#ranks.add(entry.id, entry.priority, how.sequence < 0 ? 'front' : 'back');
    this.#bytes += entry.bytes;
    this.#deadlines.push({ at: entry.deadline, id: entry.id, sequence: item.sequence });
    this.#lanes.add(item, where, entry.since);
  }

  /**
   * Takes out and returns the next run for which `tryPlace` finds room. If it refuses one, the whole shape is passed over for the rest
   * of this call, or as long as it sleeps, see {@link sleep}. `room`: no run larger than this fits anywhere, bytes; looks at nothing if
   * that holds for all first runs that were refused before.
   */
  next(now: number, tryPlace: (entry: QueueEntry<T>) => boolean, room = Infinity): QueueEntry<T> | undefined {
    if (this.#items.size === 0) return undefined;
    this.#lanes.rise(now);
    if (!this.#lanes.someUpTo(room)) return undefined;
    const refused = new Set<string>();
    try {
      for (let level = topLevel; level >= 0; level -= 1) {
        for (let lane = this.#lanes.first(level, now); lane; lane = this.#lanes.first(level, now)) {
          const first = head(lane);
          if (first && !refused.has(lane.shape.name)) {
            if (tryPlace(first.entry)) return this.#serve(first, now);
            refused.add(lane.shape.name);
          }
          this.#lanes.setAside(lane);
        }
      }
      return undefined;
    } finally {
      this.#lanes.putBack();
    }
  }

  /** Stops trying a shape, until it is woken: by {@link wake}, by another first run, or by age. It costs nothing meanwhile. */
  sleep(shape: string): void {
    this.#lanes.sleep(shape);
  }

  wake(shape: string): void {
    this.#lanes.wake(shape);
  }

  /** Tries a shape again, however large its runs are: perhaps no node can take them any more. */
  renew(shape: string): void {
    this.#lanes.renew(shape);
  }

  /** Returns the next run of a shape. */
  foremost(shape: string, now: number): QueueEntry<T> | undefined {
    const lane = this.#lanes.foremost(shape, now);
    return lane && head(lane)?.entry;
  }

  /** Returns a run's present level. */
  level(id: string): number | undefined {
    return this.#items.get(id)?.lane.level;
  }

  /** Whether a run's turn is before another's. Compares their lanes: in one lane, the first run goes first anyway. */
  precedes(id: string, other: string): boolean {
    const [a, b] = [this.#items.get(id), this.#items.get(other)];
    if (!a || !b) return b === undefined;
    const order = b.lane.level - a.lane.level || a.lane.tenant.time - b.lane.tenant.time || a.sequence - b.sequence;
    return order < 0;
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
    this.#ranks.remove(entry.id);
    this.#bytes -= entry.bytes;
    this.#lanes.drop(item, now);
    this.#tenants.leaves(lane.tenant);
    if (this.#deadlines.size > 2 * this.#items.size + 1_000)
      this.#deadlines.keep(({ id, sequence }) => this.#items.get(id)?.sequence === sequence);
  }

  /** Takes out a cancelled run. Returns whether it was in the queue. */
  remove(id: string): boolean {
    const item = this.#items.get(id);
    if (!item) return false;
    this.#leave(item, item.entry.since);
    return true;
  }

  /** Takes out the runs whose deadline has passed; `most` of them. */
  expired(now: number, most = Infinity): QueueEntry<T>[] {
    const expired: QueueEntry<T>[] = [];
    for (let next = this.#deadlines.peek(); next && expired.length < most; next = this.#deadlines.peek()) {
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

  /** Returns a run's approximate place for display; 1 is the next. */
  position(id: string): number | undefined {
    return this.#ranks.position(id);
  }
}
