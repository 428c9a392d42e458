import { Heap } from './heap.ts';
import type { QueueEntry } from './entry.ts';
import type { Tenant } from './tenants.ts';

/** A run in its lane. */
export interface Item<T> {
  readonly entry: QueueEntry<T>;
  readonly lane: Lane<T>;
  readonly sequence: number;
  /** Whether its tenant has been charged for it already. */
  readonly charged: boolean;
  gone: boolean;
}

/** Runs of one tenant, priority and shape, in the order in which they came. */
export interface Lane<T> {
  readonly key: string;
  readonly tenant: Tenant;
  readonly priority: number;
  readonly shape: string;
  items: Item<T>[];
  /** Number of items that are not gone. */
  waiting: number;
  level: number;
  group: Group<T> | undefined;
  /** The number of its current entries in its group and among the rises; entries with another number are outdated. */
  ticket: number;
}

interface Place<T> {
  lane: Lane<T>;
  time: number;
  sequence: number;
  ticket: number;
}

/** The lanes of one level and shape, by their tenants' virtual time. */
interface Group<T> {
  readonly shape: string;
  readonly level: number;
  readonly heap: Heap<Place<T>>;
  lanes: number;
}

/** After each such time without a served run of a priority, a tenant's runs of that priority rise by one level (ms). */
const agingMs = 30_000;
export const topLevel = 9;

/** The lanes by level. Keeps little of lanes and items that are gone. */
export class Lanes<T> {
  readonly #all = new Map<string, Lane<T>>();
  readonly #levels: Map<string, Group<T>>[] = Array.from({ length: topLevel + 1 }, () => new Map<string, Group<T>>());
  readonly #rises = new Heap<{ at: number; lane: Lane<T>; ticket: number }>((a, b) => a.at < b.at);

  /** Number of lanes, and of entries including outdated ones: shows that they do not grow without bound. */
  get bookSizes(): { lanes: number; places: number } {
    const groups = this.#levels.flatMap((level) => Array.from(level.values()));
    return { lanes: this.#all.size, places: groups.reduce((sum, { heap }) => sum + heap.size, this.#rises.size) };
  }

  /** Returns the lane of a tenant, priority and shape; creates it if needed. */
  lane(tenant: Tenant, priority: number, shape: string): Lane<T> {
    const key = JSON.stringify([tenant.name, priority, shape]);
    let lane = this.#all.get(key);
    if (!lane) {
      lane = { key, tenant, priority, shape, items: [], waiting: 0, level: priority, group: undefined, ticket: 0 };
      this.#all.set(key, lane);
    }
    return lane;
  }

  /** Adds an item at the end of its lane. An item that comes back is added by its age, before those that came later. */
  add(item: Item<T>, where: 'last' | 'by age', now: number): void {
    const { lane } = item;
    const last = lane.items.at(-1);
    if (where === 'last' || !last || !goesBefore(item, last)) lane.items.push(item);
    else
      lane.items.splice(
        lane.items.findIndex((other) => goesBefore(item, other)),
        0,
        item,
      );
    lane.waiting += 1;
    if (head(lane) === item) this.#place(lane, now);
  }

  /** Drops an item. The lane goes with its last item; a new first item gives the lane a new place. */
  drop(item: Item<T>, now: number): void {
    const { lane } = item;
    const wasHead = head(lane) === item;
    item.gone = true;
    lane.waiting -= 1;
    if (lane.waiting === 0) {
      lane.items = [];
      this.#all.delete(lane.key);
      this.#unplace(lane);
      return;
    }
    if (lane.items.length > 2 * lane.waiting + 16) lane.items = lane.items.filter(({ gone }) => !gone);
    if (wasHead) this.#place(lane, now);
  }

  /** Raises the lanes that have not been served for long. */
  rise(now: number): void {
    for (let rise = this.#rises.peek(); rise && rise.at <= now; rise = this.#rises.peek()) {
      this.#rises.pop();
      if (rise.ticket === rise.lane.ticket) this.#place(rise.lane, now);
    }
  }

  /** Returns the next lane of each shape on one level, by virtual time and then by the order of their first items. */
  heads(level: number, without: ReadonlySet<string>, now: number): Lane<T>[] {
    const lanes: Lane<T>[] = [];
    for (const group of this.#levels[level]?.values() ?? []) {
      const lane = without.has(group.shape) ? undefined : this.#top(group, now);
      if (lane) lanes.push(lane);
    }
    return lanes.sort((a, b) => a.tenant.time - b.tenant.time || (head(a)?.sequence ?? 0) - (head(b)?.sequence ?? 0));
  }

  /** Returns the next lane of a group; updates the places of lanes on the way. */
  #top(group: Group<T>, now: number): Lane<T> | undefined {
    for (let place = group.heap.peek(); place; place = group.heap.peek()) {
      const { lane } = place;
      if (place.ticket !== lane.ticket) {
        group.heap.pop();
      } else if (this.#level(lane, now).level < group.level) {
        this.#place(lane, now); // its tenant was served in the meantime
      } else if (place.time !== lane.tenant.time) {
        group.heap.pop();
        group.heap.push({ ...place, time: lane.tenant.time });
      } else {
        return lane;
      }
    }
    return undefined;
  }

  /** Returns a lane's present level, and when it rises from there. */
  #level(lane: Lane<T>, now: number): { level: number; risesAt: number } {
    const from = Math.max(head(lane)?.entry.since ?? now, lane.tenant.servedAt[lane.priority] ?? -Infinity);
    const risen = Math.max(0, Math.floor((now - from) / agingMs));
    const level = Math.min(topLevel, lane.priority + risen);
    return { level, risesAt: level < topLevel ? from + (risen + 1) * agingMs : Infinity };
  }

  #place(lane: Lane<T>, now: number): void {
    this.#unplace(lane);
    const first = head(lane);
    if (!first) return;
    const { level, risesAt } = this.#level(lane, now);
    const shapes = this.#levels[level];
    let group = shapes?.get(lane.shape);
    if (!group) shapes?.set(lane.shape, (group = { shape: lane.shape, level, heap: new Heap(before), lanes: 0 }));
    if (!group) return;
    group.lanes += 1;
    lane.level = level;
    lane.group = group;
    group.heap.push({ lane, time: lane.tenant.time, sequence: first.sequence, ticket: lane.ticket });
    if (group.heap.size > 2 * group.lanes + 16) group.heap.keep((place) => place.ticket === place.lane.ticket);
    if (risesAt === Infinity) return;
    this.#rises.push({ at: risesAt, lane, ticket: lane.ticket });
    if (this.#rises.size > 2 * this.#all.size + 16) this.#rises.keep((rise) => rise.ticket === rise.lane.ticket);
  }

  #unplace(lane: Lane<T>): void {
    lane.ticket += 1;
    const { group } = lane;
    if (!group) return;
    lane.group = undefined;
    group.lanes -= 1;
    if (group.lanes === 0) this.#levels[group.level]?.delete(group.shape);
  }
}

/** Returns the first item of a lane; drops those before it that are gone. */
export function head<T>(lane: Lane<T>): Item<T> | undefined {
  while (lane.items[0]?.gone) lane.items.shift();
  return lane.items[0];
}

/** Whether an item belongs before another: it was accepted earlier, or at the same time and has been served before. */
function goesBefore<T>(item: Item<T>, there: Item<T>): boolean {
  return item.entry.since < there.entry.since || (item.entry.since === there.entry.since && item.charged && !there.charged);
}

function before<T>(a: Place<T>, b: Place<T>): boolean {
  return a.time < b.time || (a.time === b.time && a.sequence < b.sequence);
}
