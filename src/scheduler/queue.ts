import { Heap } from './heap.ts';

/** Bounds of what may wait. */
export interface QueueLimits {
  runs: number;
  /** Of all requests together. */
  bytes: number;
  /** Runs of one tenant. */
  perTenant: number;
}

/** A run that waits. Times are ms on any clock, always the same. */
export interface Waiting<T> {
  id: string;
  tenant: string;
  /** 0 to 9; higher goes first. */
  priority: number;
  /** Bytes of its sandbox: what its tenant is charged with. */
  memory: number;
  /** Bytes of its request. */
  bytes: number;
  /** Runs of one shape can be placed alike: where one has no room, the others have none. */
  shape: string;
  since: number;
  /** When it has waited too long. */
  deadline: number;
  value: T;
}

export type Admission = { admitted: true } | { admitted: false; why: 'runs' | 'bytes' | 'tenant'; retryAfterMs: number };

/** Waiting lifts a run by one level of priority each time that this has passed, so that none waits for ever, ms. */
const agingMs = 30_000;
const topLevel = 9;
const [leastRetryMs, mostRetryMs] = [1_000, 60_000];
/** Weight of the newest departure in the mean time between two. */
const departureWeight = 0.05;

interface Item<T> {
  entry: Waiting<T>;
  sequence: number;
  charged: boolean;
  gone: boolean;
}

interface Tenant {
  /** Virtual time: GiB of sandboxes that it has been given, no less than what the others had when it came. */
  time: number;
  waiting: number;
}

/** Runs of one tenant, priority and shape, in the order in which they came. */
interface Lane<T> {
  tenant: Tenant;
  priority: number;
  shape: string;
  items: Item<T>[];
  /** Its place in a level's heap; a lane that moved leaves stale places behind. */
  level: number;
  time: number;
  ticket: number;
}

interface Place<T> {
  lane: Lane<T>;
  time: number;
  sequence: number;
  ticket: number;
}

/**
 * Who goes next. Levels of priority first, and waiting lifts; inside a level tenants take turns by the memory that they
 * were given (start-time fair queueing), so that one tenant's thousand runs don't delay another's one; inside a tenant
 * first come, first served. A shape that has no room is passed over, and others go ahead.
 */
export class FairQueue<T> {
  readonly #limits: QueueLimits;
  readonly #items = new Map<string, Item<T>>();
  readonly #tenants = new Map<string, Tenant>();
  readonly #lanes = new Map<string, Lane<T>>();
  /** For each level and shape the lanes by their tenants' virtual time. */
  readonly #levels: Map<string, Heap<Place<T>>>[] = Array.from({ length: topLevel + 1 }, () => new Map<string, Heap<Place<T>>>());
  readonly #deadlines = new Heap<Item<T>>((a, b) => a.entry.deadline < b.entry.deadline);
  readonly #rises = new Heap<{ at: number; lane: Lane<T>; ticket: number }>((a, b) => a.at < b.at);
  #bytes = 0;
  #sequence = 0;
  #first = 0;
  /** Virtual time of what was served last. */
  #now = 0;
  #departedAt = 0;
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

  waitingOf(tenant: string): number {
    return this.#tenants.get(tenant)?.waiting ?? 0;
  }

  /** Takes a run in, or says when to come back. Ids are unique among those that wait. */
  admit(entry: Waiting<T>): Admission {
    const { runs, bytes, perTenant } = this.#limits;
    const refuse = (why: 'runs' | 'bytes' | 'tenant', ahead: number): Admission => ({
      admitted: false,
      why,
      retryAfterMs: Math.round(Math.min(mostRetryMs, Math.max(leastRetryMs, this.#departureMs * ahead))),
    });
    if (this.waitingOf(entry.tenant) >= perTenant) return refuse('tenant', perTenant / 10);
    if (this.size >= runs) return refuse('runs', runs / 10);
    if (this.#bytes + entry.bytes > bytes) return refuse('bytes', this.size / 10);
    this.#add({ entry, sequence: (this.#sequence += 1), charged: false, gone: false });
    return { admitted: true };
  }

  /** A run that was served and lost comes back, before its like; it is neither admitted nor charged anew. */
  requeue(entry: Waiting<T>): void {
    this.#add({ entry, sequence: (this.#first -= 1), charged: true, gone: false });
  }

  #add(item: Item<T>): void {
    const { entry } = item;
    this.#items.set(entry.id, item);
    this.#bytes += entry.bytes;
    this.#deadlines.push(item);
    let tenant = this.#tenants.get(entry.tenant);
    if (!tenant) this.#tenants.set(entry.tenant, (tenant = { time: this.#now, waiting: 0 }));
    if (tenant.waiting === 0) tenant.time = Math.max(tenant.time, this.#now); // no credit for the past
    tenant.waiting += 1;
    const key = JSON.stringify([entry.tenant, entry.priority, entry.shape]);
    let lane = this.#lanes.get(key);
    if (!lane) {
      lane = { tenant, priority: entry.priority, shape: entry.shape, items: [], level: entry.priority, time: 0, ticket: 0 };
      this.#lanes.set(key, lane);
    }
    lane.tenant = tenant; // it may have been forgotten in between
    if (item.charged) lane.items.unshift(item);
    else lane.items.push(item);
    if (lane.items[0] === item) this.#enter(lane, entry.since);
  }

  /** Puts a lane where its head belongs. */
  #enter(lane: Lane<T>, now: number): void {
    const head = lane.items[0];
    if (!head) return;
    const { since } = head.entry;
    const risen = Math.max(0, Math.floor((now - since) / agingMs));
    lane.level = Math.min(topLevel, lane.priority + risen);
    lane.ticket += 1;
    const place = { lane, time: lane.tenant.time, sequence: head.sequence, ticket: lane.ticket };
    const shapes = this.#levels[lane.level];
    let heap = shapes?.get(lane.shape);
    if (!heap) shapes?.set(lane.shape, (heap = new Heap<Place<T>>(before)));
    heap?.push(place);
    if (lane.level < topLevel) this.#rises.push({ at: since + (risen + 1) * agingMs, lane, ticket: lane.ticket });
  }

  /** Lanes whose heads have waited long enough go up. */
  #rise(now: number): void {
    for (let rise = this.#rises.peek(); rise && rise.at <= now; rise = this.#rises.peek()) {
      this.#rises.pop();
      if (rise.ticket === rise.lane.ticket) this.#enter(rise.lane, now);
    }
  }

  /** The lane that is next in a heap: its place up to date, its head waiting. */
  #top(heap: Heap<Place<T>>, now: number): Lane<T> | undefined {
    for (let place = heap.peek(); place; place = heap.peek()) {
      const { lane } = place;
      if (place.ticket !== lane.ticket) {
        heap.pop();
      } else if (lane.items[0]?.gone ?? true) {
        heap.pop();
        this.#clean(lane, now);
      } else if (place.time !== lane.tenant.time) {
        heap.pop();
        heap.push({ ...place, time: lane.tenant.time });
      } else {
        return lane;
      }
    }
    return undefined;
  }

  #clean(lane: Lane<T>, now: number): void {
    while (lane.items[0]?.gone) lane.items.shift();
    lane.ticket += 1;
    if (lane.items.length > 0) this.#enter(lane, now);
  }

  /**
   * The next run for which `tryPlace` finds room; it leaves the queue. One that it refuses is passed over in this call
   * with all of its shape.
   */
  next(now: number, tryPlace: (entry: Waiting<T>) => boolean): Waiting<T> | undefined {
    if (this.#items.size === 0) return undefined;
    this.#rise(now);
    const refused = new Set<string>();
    for (let level = topLevel; level >= 0; level -= 1) {
      const shapes = this.#levels[level];
      if (!shapes || shapes.size === 0) continue;
      const lanes: Lane<T>[] = [];
      for (const [shape, heap] of shapes) {
        const lane = refused.has(shape) ? undefined : this.#top(heap, now);
        if (lane) lanes.push(lane);
        else if (heap.size === 0) shapes.delete(shape);
      }
      lanes.sort((a, b) => a.tenant.time - b.tenant.time || (a.items[0]?.sequence ?? 0) - (b.items[0]?.sequence ?? 0));
      for (const lane of lanes) {
        const [head] = lane.items;
        if (!head) continue;
        if (tryPlace(head.entry)) return this.#serve(lane, head, now);
        refused.add(lane.shape);
      }
    }
    return undefined;
  }

  #serve(lane: Lane<T>, head: Item<T>, now: number): Waiting<T> {
    this.#leave(head);
    this.#now = Math.max(this.#now, lane.tenant.time);
    if (!head.charged) lane.tenant.time += head.entry.memory / 1024 ** 3;
    this.#clean(lane, now);
    if (this.#departedAt > 0) this.#departureMs += departureWeight * (Math.min(mostRetryMs, now - this.#departedAt) - this.#departureMs);
    this.#departedAt = now;
    return head.entry;
  }

  #leave(item: Item<T>): void {
    const { entry } = item;
    item.gone = true;
    this.#items.delete(entry.id);
    this.#bytes -= entry.bytes;
    const tenant = this.#tenants.get(entry.tenant);
    if (!tenant) return;
    tenant.waiting -= 1;
    if (tenant.waiting === 0 && tenant.time <= this.#now) this.#forget(entry.tenant);
    else if (this.#tenants.size > 2 * this.#items.size + 1_000) this.#forgetIdle();
  }

  /** A tenant that is owed nothing and owes nothing. Its empty lanes go too. */
  #forget(name: string): void {
    const tenant = this.#tenants.get(name);
    if (tenant?.waiting !== 0) return;
    this.#tenants.delete(name);
  }

  #forgetIdle(): void {
    for (const [name, { waiting, time }] of this.#tenants) if (waiting === 0 && time <= this.#now) this.#tenants.delete(name);
    for (const [key, lane] of this.#lanes) if (lane.items.every(({ gone }) => gone)) this.#lanes.delete(key);
  }

  /** Takes a run out, for it was cancelled. Whether it waited. */
  remove(id: string): boolean {
    const item = this.#items.get(id);
    if (!item) return false;
    this.#leave(item);
    return true;
  }

  /** Takes out those whose wait is over. */
  expired(now: number): Waiting<T>[] {
    const over: Waiting<T>[] = [];
    for (let item = this.#deadlines.peek(); item && (item.gone || item.entry.deadline <= now); item = this.#deadlines.peek()) {
      this.#deadlines.pop();
      if (item.gone) continue;
      this.#leave(item);
      over.push(item.entry);
    }
    return over;
  }

  /** Roughly how many go before a run, itself counted; for people. */
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

function before<T>(a: Place<T>, b: Place<T>): boolean {
  return a.time < b.time || (a.time === b.time && a.sequence < b.sequence);
}
