import { mayFillIn, type Reservation, reservation } from './backfill.ts';
import type { Cluster } from './place/cluster.ts';
import type { ClusterNode } from './place/cluster-node.ts';
import { lacking, passesButForMemory, type Wanted } from './place/filters.ts';

/** What must give way on a node so that the run fits that the node is held for. */
export interface GiveWay {
  node: string;
  /** Memory to free: of idle sandboxes first, then of those kept for sessions. */
  bytes: number;
  /** The run's id. */
  for: string;
  /** The run's pool: one of its idle sandboxes there stays for the run. */
  pool: string;
}

/** A node's memory, held for the foremost run of a shape. Times are ms of the scheduler's clock. */
interface Hold {
  readonly shape: string;
  readonly node: ClusterNode;
  id: string;
  wanted: Wanted;
  /** It ends then, if there is no progress. */
  until: number;
  /** The most free memory that the node has had since the hold was made. */
  best: number;
  askedAt: number;
  /** When the run can start at the latest, as of a state of the node. */
  known: { revision: number; at: number; reservation: Reservation } | undefined;
}

/** Share of the nodes that may be held, and the most in any fleet; at least one may be. */
const [heldShare, mostHeld] = [0.1, 64];
/** How long a hold goes on without progress, after the time when its run can start by what is known (ms). */
const stallMs = 60_000;
/** The most of that known time that is waited for (ms). */
const longestMs = 600_000;
/** After this time a node is asked again to give way (ms). */
const askMs = 1_000;
/** How long a known {@link Reservation} is used, if the node does not change (ms). */
const freshMs = 100;

/** The nodes that are held for runs which were passed over for long. A shape holds one node, and a node is held for one shape. */
export class Holds {
  readonly #cluster: Cluster;
  readonly #byShape = new Map<string, Hold>();
  readonly #byNode = new Map<string, Hold>();

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
  }

  get all(): IterableIterator<Hold> {
    return this.#byShape.values();
  }

  get full(): boolean {
    return this.#byShape.size >= Math.min(mostHeld, Math.max(1, Math.floor(heldShare * this.#cluster.size)));
  }

  of(shape: string): Hold | undefined {
    return this.#byShape.get(shape);
  }

  make(shape: string, node: ClusterNode, wanted: Wanted & { id: string }, now: number): void {
    const { name } = node.facts;
    const wait = Math.min(longestMs, reservation(node, wanted.memory, now).at - now);
    const until = now + wait + stallMs;
    const hold = { shape, node, id: wanted.id, wanted, until, best: node.free, askedAt: -Infinity, known: undefined };
    this.#byShape.set(shape, hold);
    this.#byNode.set(name, hold);
    this.#cluster.hold(name, wanted.id);
  }

  /** Gives the hold to another run of the shape. */
  transfer(shape: string, wanted: Wanted & { id: string }): void {
    const hold = this.#byShape.get(shape);
    if (!hold) return;
    hold.wanted = wanted;
    hold.known = undefined;
    if (hold.id === wanted.id) return;
    hold.id = wanted.id;
    this.#cluster.hold(hold.node.facts.name, wanted.id);
  }

  end(shape: string): void {
    const hold = this.#byShape.get(shape);
    if (!hold) return;
    this.#byShape.delete(shape);
    this.#byNode.delete(hold.node.facts.name);
    this.#cluster.unhold(hold.id);
  }

  /** Ends the holds of nodes that can't take their runs any more. Ends, and returns, those without progress. */
  check(now: number): Hold[] {
    const stalled: Hold[] = [];
    for (const hold of this.#byShape.values()) {
      const { node, shape, wanted } = hold;
      if (node.free > hold.best) {
        hold.best = node.free;
        hold.until = Math.max(hold.until, now + stallMs);
      }
      const able = this.#cluster.state(node.facts.name) === node && passesButForMemory(node, wanted, this.#cluster);
      if (able && now < hold.until) continue;
      if (able) stalled.push(hold);
      this.end(shape);
    }
    return stalled;
  }

  /** Whether a run may use a node that is held for another: its turn is before the other's, or it does not delay it. */
  letsIn(node: ClusterNode, wanted: Wanted, now: number, precedes: (heldShape: string) => boolean): boolean {
    const hold = this.#byNode.get(node.facts.name);
    if (!hold || precedes(hold.shape)) return true;
    const { revision } = node;
    if (hold.known?.revision !== revision || Math.abs(now - hold.known.at) > freshMs)
      hold.known = { revision, at: now, reservation: reservation(node, hold.wanted.memory, now) };
    return mayFillIn(hold.known.reservation, wanted, now);
  }

  /** Says what must give way: where that makes enough room, and was not said a moment ago. */
  *giveWay(now: number): Generator<GiveWay> {
    for (const hold of this.#byShape.values()) {
      const { node, wanted, id } = hold;
      const bytes = lacking(node, wanted);
      if (bytes === undefined || bytes === 0 || now - hold.askedAt < askMs) continue;
      hold.askedAt = now;
      yield { node: node.facts.name, bytes, for: id, pool: wanted.pool };
    }
  }
}
