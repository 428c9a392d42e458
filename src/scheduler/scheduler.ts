import type { Cluster } from './place/cluster.ts';
import type { ClusterNode } from './place/cluster-node.ts';
import { passes, passesButForMemory } from './place/filters.ts';
import { type Decision, place, type Policy, type Wanted } from './place/placement.ts';
import type { QueueEntry } from './queue/entry.ts';
import type { FairQueue } from './queue/queue.ts';

export type Placed = Extract<Decision, { kind: 'place' }>;

export interface SchedulerOptions {
  policy: Policy;
  /** Returns numbers from 0 up to, but not including, 1. */
  random: () => number;
  /** How long a shape may lack memory before a node's memory is held for it (ms). */
  patienceMs?: number;
}

/** Share of the nodes that may be held for runs that were passed over for long; at least one may. */
const heldShare = 0.1;
/** How often to look for a node to hold, if none was found (ms). */
const lookMs = 1_000;

const waits: Decision = { kind: 'wait' };

/** A shape that has found no room since a time (ms), and its foremost run. */
interface PassedOver {
  id: string;
  wanted: Wanted;
  since: number;
  lookedAt: number;
  /** The state of the nodes when it was last passed over. */
  topology: number;
  mark: number;
}

/** Joins the queue and the cluster: which run goes next, and where. It uses no clock and no network; the simulation uses it unchanged. */
export class Scheduler<T> {
  readonly queue: FairQueue<T>;
  readonly #cluster: Cluster;
  readonly #options: SchedulerOptions;
  readonly #wanted: (value: T) => Wanted;
  readonly #passedOver = new Map<string, PassedOver>();
  /** The shapes of the runs in {@link #passedOver}. */
  readonly #shapes = new Map<string, string>();

  constructor(queue: FairQueue<T>, cluster: Cluster, wanted: (value: T) => Wanted, options: SchedulerOptions) {
    this.queue = queue;
    this.#cluster = cluster;
    this.#wanted = wanted;
    this.#options = options;
  }

  get #patienceMs(): number {
    return this.#options.patienceMs ?? 5_000;
  }

  /** Returns where a run would go now. Books nothing. */
  decide(wanted: Wanted): Decision {
    return place(this.#cluster, wanted, this.#options.policy, this.#options.random);
  }

  /** Takes out and returns the next run that has a place, after booking its memory there; or a run that no node can ever take. */
  next(now: number): { entry: QueueEntry<T>; decision: Placed | { kind: 'reject' } } | undefined {
    let decided: Placed | { kind: 'reject' } = { kind: 'reject' };
    const entry = this.queue.next(now, (candidate) => {
      this.#inherit(candidate);
      if (this.#nothingNew(candidate, now)) return false;
      const wanted = { ...this.#wanted(candidate.value), id: candidate.id };
      const decision = this.#stillNone(candidate, wanted) ? waits : this.decide(wanted);
      if (decision.kind === 'wait') {
        this.#pass(candidate, wanted, now);
        return false;
      }
      if (decision.kind === 'place' && candidate.pause !== undefined && now < candidate.pause && wanted.avoid?.has(decision.node))
        return false;
      if (decision.kind === 'place' && !this.#cluster.reserve(decision.node, wanted.memory - (decision.warm ? wanted.idleMemory : 0)))
        return false;
      decided = decision;
      return true;
    });
    if (!entry) return undefined;
    this.forget(entry.id);
    return { entry, decision: decided };
  }

  /** Transfers a held node to the foremost run of a shape, if that is another run than before. */
  #inherit({ id, shape }: QueueEntry<T>): void {
    const passed = this.#passedOver.get(shape);
    if (!passed || passed.id === id) return;
    const held = this.#cluster.heldNode(passed.id);
    if (held) this.#cluster.unhold(passed.id);
    if (held) this.#cluster.hold(held.facts.name, id);
    this.#shapes.delete(passed.id);
    this.#shapes.set(id, shape);
    passed.id = id;
  }

  /** Whether nothing has changed since the run's shape was passed over, and it is too early to hold a node for it. */
  #nothingNew({ id, shape }: QueueEntry<T>, now: number): boolean {
    const passed = this.#passedOver.get(shape);
    if (!passed || passed.topology !== this.#cluster.topology || passed.mark !== this.#cluster.gains.mark) return false;
    return (now - passed.since < this.#patienceMs || now - passed.lookedAt < lookMs) && !this.#cluster.heldNode(id);
  }

  /** Whether no node had room for the run's shape before, and no node has gained enough room since. */
  #stillNone({ id, shape }: QueueEntry<T>, wanted: Wanted): boolean {
    const passed = this.#passedOver.get(shape);
    if (!passed || passed.topology !== this.#cluster.topology || this.#cluster.heldNode(id)) return false;
    const helps = (slot: number) => {
      const node = this.#cluster.at(slot);
      return node !== undefined && passes(node, wanted, this.#cluster);
    };
    return !this.#cluster.gains.some(passed.mark, helps);
  }

  /** Holds the likeliest node for a large run, so that it does not starve behind small runs that always fit first. */
  #pass({ id, shape }: QueueEntry<T>, wanted: Wanted, now: number): void {
    const seen = { wanted, topology: this.#cluster.topology, mark: this.#cluster.gains.mark };
    const passed = this.#passedOver.get(shape);
    if (!passed) {
      this.#passedOver.set(shape, { id, since: now, lookedAt: -Infinity, ...seen });
      this.#shapes.set(id, shape);
      return;
    }
    Object.assign(passed, seen);
    if (now - passed.since < this.#patienceMs) return;
    const held = this.#cluster.heldNode(id);
    if (held) {
      if (passesButForMemory(held, wanted, this.#cluster)) return;
      this.#cluster.unhold(id); // the node was lost in the meantime
    }
    if (now - passed.lookedAt < lookMs) return;
    passed.lookedAt = now;
    if (this.#cluster.holds >= Math.max(1, Math.floor(heldShare * this.#cluster.size))) return;
    let best: ClusterNode | undefined;
    for (const node of this.#cluster.nodes()) {
      if (passesButForMemory(node, wanted, this.#cluster) && (best === undefined || node.free > best.free)) best = node;
    }
    if (best) this.#cluster.hold(best.facts.name, id);
  }

  /** Returns the foremost run of each shape that was passed over. */
  *waiting(): Generator<Wanted> {
    for (const { wanted } of this.#passedOver.values()) yield wanted;
  }

  /** Whether a node would take the run if its memory were free. */
  lacksOnlyMemory(name: string, wanted: Wanted): boolean {
    const node = this.#cluster.state(name);
    return node !== undefined && !passes(node, wanted, this.#cluster) && passesButForMemory(node, wanted, this.#cluster);
  }

  /** Forgets a run that left the queue in another way: cancelled, or past its deadline. */
  forget(id: string): void {
    const shape = this.#shapes.get(id);
    if (shape === undefined) return;
    this.#shapes.delete(id);
    this.#passedOver.delete(shape);
    this.#cluster.unhold(id);
  }
}
