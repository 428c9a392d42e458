import type { Cluster, NodeState } from './cluster.ts';
import { passesButForMemory } from './filters.ts';
import { type Decision, place, type Policy, type Wanted } from './placement.ts';
import type { FairQueue, Waiting } from './queue.ts';

export type Placed = Extract<Decision, { kind: 'place' }>;

export interface SchedulerOptions {
  policy: Policy;
  /** From 0 to 1, 1 excluded. */
  random: () => number;
  /** How long a run may be passed over for want of memory until a node's memory is saved for it, ms. */
  patienceMs?: number;
}

/** Share of the nodes, at least one, whose memory may be saved for runs that were passed over for long. */
const heldShare = 0.1;

/** The queue and the cluster joined: who goes next, and where. Knows no clock and no network; the simulation uses it as it is. */
export class Scheduler<T> {
  readonly queue: FairQueue<T>;
  readonly #cluster: Cluster;
  readonly #options: SchedulerOptions;
  readonly #wanted: (value: T) => Wanted;
  /** Since when each run has been passed over, ms. */
  readonly #refused = new Map<string, number>();

  constructor(queue: FairQueue<T>, cluster: Cluster, wanted: (value: T) => Wanted, options: SchedulerOptions) {
    this.queue = queue;
    this.#cluster = cluster;
    this.#wanted = wanted;
    this.#options = options;
  }

  /** Where it would go now. Nothing is booked. */
  decide(wanted: Wanted): Decision {
    return place(this.#cluster, wanted, this.#options.policy, this.#options.random);
  }

  /** The next run that has a place, its memory booked there; or one that no node can take any more. It has left the queue. */
  next(now: number): { entry: Waiting<T>; decision: Placed | { kind: 'reject' } } | undefined {
    let decided: Placed | { kind: 'reject' } = { kind: 'reject' };
    const entry = this.queue.next(now, (candidate) => {
      const wanted = { ...this.#wanted(candidate.value), id: candidate.id };
      const decision = this.decide(wanted);
      if (decision.kind === 'wait') {
        this.#passedOver(candidate.id, wanted, now);
        return false;
      }
      if (decision.kind === 'place' && !this.#cluster.reserve(decision.node, wanted.memory - (decision.warm ? wanted.idleMemory : 0)))
        return false;
      decided = decision;
      return true;
    });
    if (!entry) return undefined;
    this.forget(entry.id);
    return { entry, decision: decided };
  }

  /** A big run must not wait for ever because small ones always fit first: the likeliest node saves its memory for it. */
  #passedOver(id: string, wanted: Wanted, now: number): void {
    const since = this.#refused.get(id);
    if (since === undefined) {
      this.#refused.set(id, now);
      return;
    }
    if (now - since < (this.#options.patienceMs ?? 5_000)) return;
    const held = this.#cluster.heldNode(id);
    if (held) {
      if (passesButForMemory(held, wanted, this.#cluster)) return;
      this.#cluster.unhold(id); // the node was lost meanwhile
    }
    if (this.#cluster.holds >= Math.max(1, Math.floor(heldShare * this.#cluster.size))) return;
    let best: NodeState | undefined;
    for (const node of this.#cluster.nodes()) {
      if (passesButForMemory(node, wanted, this.#cluster) && (best === undefined || node.free > best.free)) best = node;
    }
    if (best) this.#cluster.hold(best.facts.name, id);
  }

  /** A run left the queue in another way: cancelled, or too late. */
  forget(id: string): void {
    this.#refused.delete(id);
    this.#cluster.unhold(id);
  }
}
