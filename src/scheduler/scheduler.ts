import { type GiveWay, Holds } from './holds.ts';
import { nodeToHold } from './node-to-hold.ts';
import { WaitingShapes } from './index/waiting-shapes.ts';
import type { Cluster } from './place/cluster.ts';
import type { ClusterNode } from './place/cluster-node.ts';
import { type Decision, mayEverTake, place, type Policy, type Wanted } from './place/placement.ts';
import type { QueueEntry } from './queue/entry.ts';
import { Heap } from './queue/heap.ts';
import type { FairQueue } from './queue/queue.ts';

export type Placed = Extract<Decision, { kind: 'place' }>;
/** A run that has left the queue. `level`: its level in the queue, which is its priority or higher. */
type Next<T> = { entry: QueueEntry<T>; decision: Placed | { kind: 'reject' }; level: number };

export interface SchedulerOptions {
  policy: Policy;
  /** Returns numbers from 0 up to, but not including, 1. */
  random: () => number;
  /** How long a shape may lack memory before a node's memory is held for it until runs have ended there (ms). */
  patienceMs?: number;
  /** The same, where idle sandboxes alone can give way (ms). In a busy fleet a run ends sooner, and they are not wasted. */
  giveWayMs?: number;
}

/** How often to look for nodes to hold (ms), and how many nodes are looked at then; a longer look makes the next one later. */
const [lookMs, lookNodes] = [100, 1_000];
/** How long no node is held for a shape after a hold without progress (ms). */
const restMs = 30_000;

/** A shape that has found no room since a time, and its foremost run. Times are ms of the caller's clock. */
interface PassedOver {
  id: string;
  wanted: Wanted & { id: string };
  since: number;
  /** No node is held for it before. */
  restsUntil: number;
  /** The last node that was held for it without progress. */
  stalledOn: string | undefined;
  /** {@link Cluster.limits} when it was last known that some node may take it. */
  limits: number;
}

/**
 * Joins the queue and the cluster: which run goes next, and where. It uses no clock and no network; the simulation uses it unchanged. A
 * shape without room sleeps in the queue until something has changed that could help it.
 */
export class Scheduler<T> {
  readonly queue: FairQueue<T>;
  readonly #cluster: Cluster;
  readonly #options: SchedulerOptions;
  readonly #wanted: (value: T) => Wanted;
  readonly #holds: Holds;
  readonly #asleep = new WaitingShapes();
  /** Shapes to wake when the pause of their foremost run is over. */
  readonly #pauses = new Heap<{ at: number; shape: string }>((a, b) => a.at < b.at);
  /** By shape, in the order in which they are looked at. */
  readonly #passedOver = new Map<string, PassedOver>();
  /** The shapes of the runs in {@link #passedOver}. */
  readonly #shapes = new Map<string, string>();
  #looksAt = -Infinity;
  #lookedAt = -Infinity;
  /** How many placements were tried, and how many nodes looked at to hold one: what the scheduler's time goes into. */
  readonly work = { tries: 0, looks: 0 };

  constructor(queue: FairQueue<T>, cluster: Cluster, wanted: (value: T) => Wanted, options: SchedulerOptions) {
    this.queue = queue;
    this.#cluster = cluster;
    this.#wanted = wanted;
    this.#options = options;
    this.#holds = new Holds(cluster);
  }

  /** Returns where a run would go now. Books nothing. */
  decide(wanted: Wanted): Decision {
    return place(this.#cluster, wanted, this.#options.policy, this.#options.random);
  }

  /** Takes out and returns the next run that has a place, after booking its memory there; or a run that no node can ever take. */
  next(now: number): Next<T> | undefined {
    if (this.queue.size === 0) {
      for (const passed of [...this.#passedOver.values()]) this.forget(passed.id);
      return undefined;
    }
    this.#look(now);
    this.#wake(now);
    let decided: Placed | { kind: 'reject' } = { kind: 'reject' };
    let level = 0;
    const entry = this.queue.next(
      now,
      (candidate) => {
        this.work.tries += 1;
        const wanted = this.#wantedBy(candidate, now);
        this.#inherit(candidate.shape, wanted);
        const decision = this.decide(wanted);
        if (decision.kind === 'wait') return this.#pass(candidate, wanted, now);
        if (decision.kind === 'place' && candidate.pause !== undefined && now < candidate.pause && wanted.avoid?.has(decision.node)) {
          this.#pauses.push({ at: candidate.pause, shape: candidate.shape });
          return this.#pass(candidate, wanted, now);
        }
        if (decision.kind === 'place' && !this.#cluster.reserve(decision.node, wanted.memory - (decision.warm ? wanted.idleMemory : 0)))
          return false;
        decided = decision;
        level = this.queue.level(candidate.id) ?? candidate.priority;
        return true;
      },
      this.#cluster.largest,
    );
    if (!entry) return undefined;
    this.#left(entry, decided, now);
    return { entry, decision: decided, level };
  }

  #wantedBy({ id, value }: QueueEntry<T>, now: number): Wanted & { id: string } {
    const wanted = { ...this.#wanted(value), id };
    const precedes = (shape: string) => {
      const held = this.queue.foremost(shape, now);
      return held === undefined || this.queue.precedes(id, held.id);
    };
    return Object.assign(wanted, { letIn: (node: ClusterNode) => this.#holds.letsIn(node, wanted, now, precedes) });
  }

  /** Wakes the shapes that a change could help, and those whose pause is over. */
  #wake(now: number): void {
    for (let pause = this.#pauses.peek(); pause && pause.at <= now; pause = this.#pauses.peek()) {
      this.#pauses.pop();
      this.queue.wake(pause.shape);
    }
    const { gains } = this.#cluster;
    if (!gains.some) return;
    const { slots, images } = gains.take();
    for (const image of images) for (const shape of this.#asleep.helpedByImage(image)) this.queue.wake(shape);
    for (const slot of slots) {
      const node = this.#cluster.at(slot);
      for (const shape of node ? this.#asleep.helpedBy(node, this.#cluster) : []) this.queue.wake(shape);
    }
  }

  /** Takes note of the foremost run of a shape, which may be another one than before. */
  #inherit(shape: string, wanted: Wanted & { id: string }): void {
    const passed = this.#passedOver.get(shape);
    if (!passed) return;
    this.#shapes.delete(passed.id);
    this.#shapes.set(wanted.id, shape);
    Object.assign(passed, { id: wanted.id, wanted });
    this.#holds.transfer(shape, wanted);
  }

  /** Notes that a run found no room: its shape sleeps until something changes that could help it. Returns false. */
  #pass({ id, shape }: QueueEntry<T>, wanted: Wanted & { id: string }, now: number): false {
    if (!this.#passedOver.has(shape)) {
      const { limits } = this.#cluster;
      this.#passedOver.set(shape, { id, wanted, since: now, restsUntil: -Infinity, stalledOn: undefined, limits });
      this.#shapes.set(id, shape);
    }
    this.#asleep.add(shape, wanted);
    this.queue.sleep(shape);
    return false;
  }

  /**
   * Looks for nodes to hold, shape by shape in turn, so that large runs do not starve behind small ones that always fit first. Wakes
   * shapes that no node may take any more.
   */
  #look(now: number): void {
    if (now < this.#looksAt && now >= this.#lookedAt) return;
    for (const { shape, node } of this.#holds.check(now)) {
      const passed = this.#passedOver.get(shape);
      if (passed) Object.assign(passed, { restsUntil: now + restMs, stalledOn: node.facts.name });
    }
    let looked = 0;
    for (let left = this.#passedOver.size; left > 0 && looked < lookNodes; left -= 1) {
      const [first] = this.#passedOver;
      if (!first) break;
      this.#passedOver.delete(first[0]);
      this.#passedOver.set(...first);
      looked += 1 + this.#lookFor(...first, now);
    }
    this.work.looks += looked;
    this.#lookedAt = now;
    this.#looksAt = now + lookMs * Math.max(1, looked / lookNodes);
  }

  /** Holds a node for a shape, if it has waited long enough and one is found. Returns how many nodes were looked at. */
  #lookFor(shape: string, passed: PassedOver, now: number): number {
    const { wanted, since, restsUntil, stalledOn } = passed;
    if (this.queue.level(wanted.id) === undefined) {
      this.#succeed(shape, passed, now);
      return 0;
    }
    const { patienceMs = 5_000, giveWayMs = 500 } = this.#options;
    if (passed.limits !== this.#cluster.limits) {
      if (mayEverTake(this.#cluster, wanted)) passed.limits = this.#cluster.limits;
      else this.queue.renew(shape);
    }
    const waited = now - since;
    if (waited < Math.min(giveWayMs, patienceMs) || now < restsUntil || this.#holds.of(shape)) return 0;
    const last = this.#holds.full ? this.#lastHeld() : undefined;
    if (last && (this.queue.level(wanted.id) ?? 0) <= (this.queue.level(last.id) ?? 0)) return 0;
    const { node, looked } = nodeToHold(this.#cluster, wanted, { now, onlyGiveWay: waited < patienceMs, stalledOn });
    if (!node) return looked;
    if (last) this.#holds.end(last.shape);
    this.#holds.make(shape, node, wanted, now);
    return looked;
  }

  /** Returns the hold of the run whose turn is last. */
  #lastHeld() {
    let last: { id: string; shape: string } | undefined;
    for (const hold of this.#holds.all) if (!last || this.queue.precedes(last.id, hold.id)) last = hold;
    return last;
  }

  /** Returns the foremost run of each shape that was passed over. */
  *waiting(): Generator<Wanted> {
    for (const { wanted } of this.#passedOver.values()) yield wanted;
  }

  /** Says what must give way on nodes that are held, so that their runs fit. The caller asks the nodes at once. */
  giveWay(now: number): Iterable<GiveWay> {
    return this.#holds.giveWay(now);
  }

  /** Takes note of a run that has left the queue by a decision. */
  #left({ id, shape }: QueueEntry<T>, decision: Next<T>['decision'], now: number): void {
    const passed = this.#passedOver.get(shape);
    if (!passed) return;
    const hold = this.#holds.of(shape);
    const isUsed = decision.kind === 'place' && hold?.node.facts.name === decision.node;
    if (isUsed) this.#holds.end(shape);
    if (passed.id === id) this.#succeed(shape, passed, now);
    // The shape found room by itself: it does not starve.
    if (decision.kind === 'place' && !hold) passed.since = now;
  }

  /** Forgets a run that left the queue in another way: cancelled, or past its deadline. */
  forget(id: string): void {
    const shape = this.#shapes.get(id);
    const passed = shape === undefined ? undefined : this.#passedOver.get(shape);
    if (shape !== undefined && passed) this.#succeed(shape, passed, this.#lookedAt);
  }

  /** Lets the next run of a shape inherit what the foremost one had: its age, and the node that was held for it. */
  #succeed(shape: string, passed: PassedOver, now: number): void {
    const next = this.queue.foremost(shape, now);
    if (next) {
      this.#inherit(shape, this.#wantedBy(next, now));
      return;
    }
    this.#shapes.delete(passed.id);
    this.#passedOver.delete(shape);
    this.#asleep.delete(shape);
    this.#holds.end(shape);
  }
}
