import type { Reason } from '../../model/verdict.ts';
import type { Cluster } from './cluster.ts';
import { filters, type ReasonCode, reasonsAgainst, type Wanted } from './filters.ts';

/** How many nodes refuse for a reason, and for how many of them that can never change. */
export interface ReasonCount {
  nodes: number;
  permanent: number;
}

/** Why nodes do not take a run: counted over all nodes, and told in words for the first ones. */
export interface WhyNot {
  /** Number of nodes that refuse. */
  nodes: number;
  /** Sorted by frequency. */
  counts: ReadonlyMap<ReasonCode, ReasonCount>;
  first: readonly { node: string; reasons: readonly Reason[] }[];
}

/** Most nodes whose reasons are told in words. */
export const mostTold = 20;
/** How long an explanation stays true enough, ms: bookings change all the time. */
const freshMs = 1_000;
/** Most explanations that are kept, because shapes come from callers. */
const mostKept = 1_000;

/** Asks every node. */
export function whyNot(cluster: Cluster, wanted: Wanted): WhyNot {
  const counts = new Map<ReasonCode, ReasonCount>();
  const first: { node: string; reasons: readonly Reason[] }[] = [];
  let nodes = 0;
  for (const node of cluster.nodes()) {
    let refused = false;
    for (const { code, refuses, permanent } of filters) {
      if (!refuses(node, wanted, cluster)) continue;
      refused = true;
      let count = counts.get(code);
      if (!count) counts.set(code, (count = { nodes: 0, permanent: 0 }));
      count.nodes += 1;
      if (permanent(node, wanted, cluster)) count.permanent += 1;
    }
    if (!refused) continue;
    nodes += 1;
    if (first.length < mostTold) first.push({ node: node.facts.name, reasons: reasonsAgainst(node, wanted, cluster) });
  }
  return { nodes, counts: new Map([...counts].sort(([, a], [, b]) => b.nodes - a.nodes)), first };
}

/** Keeps explanations by shape, so that all runs of one shape that end at the same time share one. */
export class Explanations {
  readonly #cluster: Cluster;
  readonly #now: () => number;
  readonly #kept = new Map<string, { why: WhyNot; at: number }>();
  #topology = -1;
  /** How many nodes were asked so far. */
  asked = 0;

  /** `now`: ms on a steady clock. */
  constructor(cluster: Cluster, now: () => number = () => performance.now()) {
    this.#cluster = cluster;
    this.#now = now;
  }

  /** Returns an explanation for the state of the nodes now, with bookings that are a second old at most. */
  of(wanted: Wanted): WhyNot {
    const now = this.#now();
    if (this.#topology !== this.#cluster.topology || this.#kept.size >= mostKept) {
      this.#kept.clear();
      this.#topology = this.#cluster.topology;
    }
    const { image, pool, memory, cpus, constraints, architecture, networks } = wanted;
    const key = JSON.stringify([image, pool, memory, cpus, constraints, architecture, networks]);
    const kept = this.#kept.get(key);
    if (kept && now - kept.at < freshMs) return kept.why;
    const why = whyNot(this.#cluster, wanted);
    this.asked += this.#cluster.size;
    this.#kept.set(key, { why, at: now });
    return why;
  }
}
