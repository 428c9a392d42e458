import { formatBytes } from '../core/quantity.ts';
import type { Cluster, NodeState } from './cluster.ts';
import { isWarm, needed, passes, type Reason, reasonsAgainst, refusedForEver, splitConstraint, type Wanted } from './filters.ts';
import type { IndexedSet } from './indexed-set.ts';

export type { Reason, ReasonCode, Wanted } from './filters.ts';

export interface Policy {
  /** Spread: the least loaded node that fits. Binpack: the most loaded that still fits, so that others stay empty. */
  pack: 'spread' | 'binpack';
}

/** Wait: some node may take it later. Reject: none ever will as things are; {@link explain} says why. */
export type Decision = { kind: 'place'; node: string; warm: boolean; imagePresent: boolean } | { kind: 'wait' } | { kind: 'reject' };

export type NodeVerdict =
  | { kind: 'passes'; node: string; chosen: boolean; ranks: { rank: 'avoid' | 'warm' | 'image' | 'load'; detail: string }[] }
  | { kind: 'passed_over'; node: string; reasons: Reason[] };

/** How many of a large set are looked at before one is taken; the best of so many is nearly the best of all. */
const sample = 32;
/** Sets up to this size are looked at whole. */
const small = 64;

/** Which node, or wait, or reject. Nothing is booked. `random` gives numbers from 0 to 1, 1 excluded. */
export function place(cluster: Cluster, wanted: Wanted, policy: Policy, random: () => number): Decision {
  const node = choose(cluster, wanted, policy, random);
  if (node) return { kind: 'place', node: node.facts.name, warm: isWarm(node, wanted), imagePresent: node.images.has(wanted.image) };
  return mayEverTake(cluster, wanted) ? { kind: 'wait' } : { kind: 'reject' };
}

function choose(cluster: Cluster, wanted: Wanted, policy: Policy, random: () => number): NodeState | undefined {
  const held = wanted.id === undefined ? undefined : cluster.heldNode(wanted.id);
  if (held && passes(held, wanted, cluster)) return held;
  // What is least is asked for first: nobody has even that much.
  if (cluster.tree.mostFree < wanted.memory - wanted.idleMemory) return undefined;
  const without = wanted.avoid !== undefined && wanted.avoid.size > 0 ? wanted.avoid : undefined;
  if (!without) return search(cluster, wanted, policy, random, () => true);
  return (
    search(cluster, wanted, policy, random, (node) => !without.has(node.facts.name)) ?? search(cluster, wanted, policy, random, () => true)
  );
}

function search(
  cluster: Cluster,
  wanted: Wanted,
  policy: Policy,
  random: () => number,
  also: (node: NodeState) => boolean,
): NodeState | undefined {
  const view = { cluster, wanted, policy, random };
  const warm = bestOf(cluster.withIdle(wanted.pool), view, also);
  if (warm) return warm;
  const holders = cluster.withImage(wanted.image);
  const few = mostSelective(cluster, wanted, holders);
  const present =
    few.size <= small || few.size * 8 < cluster.size || policy.pack === 'binpack'
      ? bestOf(few, view, (node) => also(node) && node.images.has(wanted.image))
      : undefined;
  if (present) return present;
  if (holders.size === 0) return undefined; // then it can't be brought anywhere either
  return leastLoaded(view, (node) => also(node) && node.images.has(wanted.image)) ?? leastLoaded(view, also);
}

interface View {
  cluster: Cluster;
  wanted: Wanted;
  policy: Policy;
  random: () => number;
}

/** The smallest of the sets that the node must be in. */
function mostSelective(cluster: Cluster, wanted: Wanted, holders: IndexedSet): IndexedSet {
  let few = holders;
  for (const constraint of wanted.constraints) {
    const { key, equal, value } = splitConstraint(constraint);
    if (!equal || value === '') continue;
    const set = cluster.withLabel(key, value);
    if (set.size < few.size) few = set;
  }
  return few;
}

/** The best node of a set: of all where it is small, of a sample where it is large and the sample has one that fits. */
function bestOf(set: IndexedSet, view: View, also: (node: NodeState) => boolean): NodeState | undefined {
  if (set.size > small) {
    let best: NodeState | undefined;
    const start = Math.floor(view.random() * set.size);
    const stride = 1 + Math.floor(view.random() * (set.size - 1));
    for (let at = 0; at < sample; at += 1) best = better(best, set.pick((start + at * stride) % set.size), view, also);
    if (best) return best;
  }
  let best: NodeState | undefined;
  for (const slot of set) best = better(best, slot, view, also);
  return best;
}

function better(best: NodeState | undefined, slot: number, view: View, also: (node: NodeState) => boolean): NodeState | undefined {
  const node = view.cluster.at(slot);
  if (!node || !also(node) || !passes(node, view.wanted, view.cluster)) return best;
  return best === undefined || compareLoad(node, best, view.wanted, view.policy) < 0 ? node : best;
}

/** How far nodes are tried in the order of their load: where so many have room and none passes, all are looked at once. */
function leastLoaded({ cluster, wanted, policy }: View, also: (node: NodeState) => boolean): NodeState | undefined {
  let best: NodeState | undefined;
  for (const slot of cluster.tree.leastLoaded(wanted.memory)) {
    const node = cluster.at(slot);
    if (!node || !also(node) || !passes(node, wanted, cluster)) continue;
    if (policy.pack === 'spread') return node;
    if (best === undefined || compareLoad(node, best, wanted, policy) < 0) best = node;
  }
  return best;
}

function compareLoad(a: NodeState, b: NodeState, wanted: Wanted, { pack }: Policy): number {
  const difference = a.load(needed(a, wanted)) - b.load(needed(b, wanted));
  return pack === 'spread' ? difference : -difference;
}

const rejections = new WeakMap<Cluster, { topology: number; known: Map<string, boolean> }>();

/** Whether any node might take it some day; remembered until what nodes are or have changes. */
function mayEverTake(cluster: Cluster, wanted: Wanted): boolean {
  let memory = rejections.get(cluster);
  if (memory?.topology !== cluster.topology || memory.known.size > 10_000) {
    rejections.set(cluster, (memory = { topology: cluster.topology, known: new Map() }));
  }
  const key = JSON.stringify([wanted.pool, wanted.image, wanted.memory, wanted.cpus, wanted.constraints, wanted.architecture]);
  let may = memory.known.get(key);
  if (may === undefined) {
    may = false;
    for (const node of cluster.nodes()) {
      if (refusedForEver(node, wanted, cluster)) continue;
      may = true;
      break;
    }
    memory.known.set(key, may);
  }
  return may;
}

/** Every node's verdict, those that pass first and the best of them foremost; marks the one that is best. */
export function explain(cluster: Cluster, wanted: Wanted, policy: Policy): NodeVerdict[] {
  const passing: NodeState[] = [];
  const over: NodeVerdict[] = [];
  for (const node of cluster.nodes()) {
    const reasons = reasonsAgainst(node, wanted, cluster);
    if (reasons.length === 0) passing.push(node);
    else over.push({ kind: 'passed_over', node: node.facts.name, reasons });
  }
  const avoided = (node: NodeState) => Number(wanted.avoid?.has(node.facts.name) ?? false);
  const lacks = (node: NodeState) => Number(!node.images.has(wanted.image));
  const cold = (node: NodeState) => Number(!isWarm(node, wanted));
  const held = (node: NodeState) => Number(wanted.id === undefined || node.heldFor !== wanted.id);
  passing.sort(
    (a, b) => held(a) - held(b) || avoided(a) - avoided(b) || cold(a) - cold(b) || lacks(a) - lacks(b) || compareLoad(a, b, wanted, policy),
  );
  const fits = passing.map((node, index): NodeVerdict => {
    const after = node.load(needed(node, wanted));
    const ranks: Extract<NodeVerdict, { kind: 'passes' }>['ranks'] = [
      { rank: 'warm', detail: isWarm(node, wanted) ? `${node.pools.get(wanted.pool) ?? 0} sandboxes wait` : 'no sandbox waits' },
      { rank: 'image', detail: lacks(node) ? 'to be brought there' : 'is there' },
      { rank: 'load', detail: `${(100 * after).toFixed(1)} % of ${formatBytes(node.memory)} booked with it` },
    ];
    if (avoided(node)) ranks.unshift({ rank: 'avoid', detail: 'an earlier attempt was lost there' });
    return { kind: 'passes', node: node.facts.name, chosen: index === 0, ranks };
  });
  return [...fits, ...over];
}
