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
  readonly shape: Shape<T>;
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
  readonly shape: Shape<T>;
  readonly level: number;
  readonly heap: Heap<Place<T>>;
  lanes: number;
  /** The number of its current entry in the order of its level; entries with another number are outdated. */
  ticket: number;
  /** Its key there; undefined if it has no entry. */
  ranked: Key | undefined;
}

/** A shape that waits. */
interface Shape<T> {
  readonly name: string;
  readonly groups: Map<number, Group<T>>;
  lanes: number;
  /** It found no room, and nothing that could help it has happened since: it is not tried. */
  asleep: boolean;
  /** Bytes of its smallest first run. */
  least: number;
  /** Whether it was ever refused; if not, it is tried whatever its size. */
  refused: boolean;
  ticket: number;
}

/** The order inside a level: by virtual time, then by age. */
interface Key {
  readonly time: number;
  readonly sequence: number;
}

interface Ranked<T> extends Key {
  readonly group: Group<T>;
  readonly ticket: number;
}

/** After each such time without a served run of a priority, a tenant's runs of that priority rise by one level (ms). */
const agingMs = 30_000;
export const topLevel = 9;

/** The lanes by level. Keeps little of lanes and items that are gone. A shape that sleeps costs nothing until it is woken. */
export class Lanes<T> {
  readonly #all = new Map<string, Lane<T>>();
  readonly #shapes = new Map<string, Shape<T>>();
  /** The groups of shapes that are awake, by level and order. An entry may be outdated, and is never behind its group's true place. */
  readonly #levels: Heap<Ranked<T>>[] = Array.from({ length: topLevel + 1 }, () => new Heap<Ranked<T>>(before));
  readonly #rises = new Heap<{ at: number; lane: Lane<T>; ticket: number }>((a, b) => a.at < b.at);
  /** Shapes that are awake, by the bytes of their smallest first run. */
  readonly #sizes = new Heap<{ bytes: number; shape: Shape<T>; ticket: number }>((a, b) => a.bytes < b.bytes);
  readonly #aside = new Set<Group<T>>();

  /** Number of lanes, and of entries including outdated ones: shows that they do not grow without bound. */
  get bookSizes(): { lanes: number; places: number } {
    const groups = Array.from(this.#shapes.values()).flatMap((shape) => Array.from(shape.groups.values()));
    const ranked = this.#levels.reduce((sum, { size }) => sum + size, this.#rises.size + this.#sizes.size);
    return { lanes: this.#all.size, places: groups.reduce((sum, { heap }) => sum + heap.size, ranked) };
  }

  /** Returns the lane of a tenant, priority and shape; creates it if needed. */
  lane(tenant: Tenant, priority: number, name: string): Lane<T> {
    const key = JSON.stringify([tenant.name, priority, name]);
    let lane = this.#all.get(key);
    if (!lane) {
      let shape = this.#shapes.get(name);
      if (!shape) {
        shape = { name, groups: new Map(), lanes: 0, asleep: false, least: Infinity, refused: false, ticket: 0 };
        this.#shapes.set(name, shape);
      }
      shape.lanes += 1;
      tenant.shapes.set(name, (tenant.shapes.get(name) ?? 0) + 1);
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
    if (head(lane) !== item) return;
    this.wake(lane.shape.name); // its first run may be smaller, or on a higher level
    this.#place(lane, now);
  }

  /** Drops an item. The lane goes with its last item; a new first item gives the lane a new place. */
  drop(item: Item<T>, now: number): void {
    const { lane } = item;
    const wasHead = head(lane) === item;
    item.gone = true;
    lane.waiting -= 1;
    if (lane.waiting === 0) {
      this.#end(lane);
      return;
    }
    if (lane.items.length > 2 * lane.waiting + 16) lane.items = lane.items.filter(({ gone }) => !gone);
    if (!wasHead) return;
    this.wake(lane.shape.name);
    this.#place(lane, now);
  }

  #end(lane: Lane<T>): void {
    const { shape, tenant } = lane;
    lane.items = [];
    this.#all.delete(lane.key);
    this.#unplace(lane);
    const others = (tenant.shapes.get(shape.name) ?? 1) - 1;
    if (others > 0) tenant.shapes.set(shape.name, others);
    else tenant.shapes.delete(shape.name);
    shape.lanes -= 1;
    if (shape.lanes > 0) return;
    shape.ticket += 1;
    this.#shapes.delete(shape.name);
  }

  /** Raises the lanes that have not been served for long, and wakes their shapes. */
  rise(now: number): void {
    for (let rise = this.#rises.peek(); rise && rise.at <= now; rise = this.#rises.peek()) {
      this.#rises.pop();
      if (rise.ticket !== rise.lane.ticket) continue;
      this.wake(rise.lane.shape.name);
      this.#place(rise.lane, now);
    }
  }

  /** Stops trying a shape, until something that could help it wakes it. */
  sleep(name: string): void {
    const shape = this.#shapes.get(name);
    if (!shape || shape.asleep) return;
    shape.asleep = true;
    shape.refused = true;
    shape.ticket += 1;
    for (const group of shape.groups.values()) unrank(group);
  }

  /** Tries a shape again. */
  wake(name: string): void {
    const shape = this.#shapes.get(name);
    if (!shape?.asleep) return;
    shape.asleep = false;
    for (const group of shape.groups.values()) this.#rank(group);
    this.#size(shape);
  }

  /** Tries a shape again whatever its size, as if it was never refused. */
  renew(name: string): void {
    const shape = this.#shapes.get(name);
    if (!shape) return;
    shape.refused = false;
    if (shape.asleep) this.wake(name);
    else this.#size(shape);
  }

  /** Whether a shape that is awake was never refused, or has a first run of at most this size, bytes. */
  someUpTo(bytes: number): boolean {
    for (let least = this.#sizes.peek(); least; least = this.#sizes.peek()) {
      if (least.ticket === least.shape.ticket) return least.bytes <= bytes;
      this.#sizes.pop();
    }
    return false;
  }

  /** Returns the next lane of a level whose shape is awake, by virtual time and then by the order of their first items. */
  first(level: number, now: number): Lane<T> | undefined {
    const heap = this.#levels[level];
    for (let ranked = heap?.peek(); heap && ranked; ranked = heap.peek()) {
      const { group, ticket } = ranked;
      const lane = ticket === group.ticket ? this.#top(group, now) : undefined;
      const top = group.heap.peek();
      if (!lane || !top || ticket !== group.ticket) {
        heap.pop();
        if (ticket === group.ticket) unrank(group);
      } else if (top.time === ranked.time && top.sequence === ranked.sequence) {
        return lane;
      } else {
        group.ranked = { time: top.time, sequence: top.sequence };
        heap.replace({ ...group.ranked, group, ticket });
      }
    }
    return undefined;
  }

  /** Skips a lane's group until {@link putBack}. */
  setAside({ group }: Lane<T>): void {
    if (!group) return;
    unrank(group);
    this.#aside.add(group);
  }

  putBack(): void {
    const groups = Array.from(this.#aside);
    this.#aside.clear();
    for (const group of groups) if (group.lanes > 0) this.#rank(group);
  }

  /** Returns the next lane of a shape. */
  foremost(name: string, now: number): Lane<T> | undefined {
    const { groups } = this.#shapes.get(name) ?? {};
    for (let level = topLevel; groups && level >= 0; level -= 1) {
      const group = groups.get(level);
      const lane = group && this.#top(group, now);
      if (lane) return lane;
    }
    return undefined;
  }

  /** Enters a group into the order of its level, at the place of its first lane as it was last known. */
  #rank(group: Group<T>): void {
    const top = group.heap.peek();
    const heap = this.#levels[group.level];
    if (!top || !heap || group.shape.asleep || this.#aside.has(group)) return;
    if (group.ranked && !before(top, group.ranked)) return;
    group.ticket += 1;
    group.ranked = { time: top.time, sequence: top.sequence };
    heap.push({ ...group.ranked, group, ticket: group.ticket });
    if (heap.size > 2 * this.#shapes.size + 16) heap.keep((ranked) => ranked.ticket === ranked.group.ticket);
  }

  #size(shape: Shape<T>): void {
    this.#sizes.push({ bytes: shape.refused ? shape.least : -Infinity, shape, ticket: shape.ticket });
    if (this.#sizes.size > 2 * this.#shapes.size + 16) this.#sizes.keep((entry) => entry.ticket === entry.shape.ticket);
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
        group.heap.replace({ ...place, time: lane.tenant.time });
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
    const { shape } = lane;
    const { level, risesAt } = this.#level(lane, now);
    const heap = new Heap<Place<T>>(before);
    const group = shape.groups.get(level) ?? { shape, level, heap, lanes: 0, ticket: 0, ranked: undefined };
    shape.groups.set(level, group);
    group.lanes += 1;
    lane.level = level;
    lane.group = group;
    group.heap.push({ lane, time: lane.tenant.time, sequence: first.sequence, ticket: lane.ticket });
    if (group.heap.size > 2 * group.lanes + 16) group.heap.keep((place) => place.ticket === place.lane.ticket);
    this.#rank(group);
    if (first.entry.memory < shape.least) {
      shape.least = first.entry.memory;
      this.#size(shape);
    }
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
    if (group.lanes > 0) return;
    unrank(group);
    group.shape.groups.delete(group.level);
  }
}

/** Makes its entry in the order of its level outdated. */
function unrank<T>(group: Group<T>): void {
  group.ticket += 1;
  group.ranked = undefined;
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

function before(a: Key, b: Key): boolean {
  return a.time < b.time || (a.time === b.time && a.sequence < b.sequence);
}
