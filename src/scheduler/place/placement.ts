import { splitConstraint } from '../../model/placing.ts';
import { formatBytes } from '../../model/quantity.ts';
import type { NodeVerdict } from '../../model/verdict.ts';
import type { Cluster } from './cluster.ts';
import type { ClusterNode } from './cluster-node.ts';
import { isNearer, isWarm, needed, passes, reasonsAgainst, refusedForEver, type Wanted } from './filters.ts';
import type { IndexedSet } from '../index/indexed-set.ts';

export type { ReasonCode, Wanted } from './filters.ts';

export interface Policy {
  /**
   * Spread: the least loaded node that fits. Binpack: the node that keeps the least free memory afterwards, so that other nodes stay
   * empty.
   */
  pack: 'spread' | 'binpack';
}

/** Wait: a node may take it later. Reject: as things are, no node ever will; {@link explain} says why. */
export type Decision = { kind: 'place'; node: string; warm: boolean; imagePresent: boolean } | { kind: 'wait' } | { kind: 'reject' };

/** In fleets and sets up to this size every node is compared, and the best is found. */
const small = 64;
/** Number of nodes of a larger set that are compared; the best of them is nearly the best of all. */
const sample = 32;
/** Most nodes that are tried in the order of the policy, if at least one in {@link common} is likely to fit. */
const walk = 64;
/** Most steps down the load tree before this is given up. */
const steps = 256;
const common = 8;

/**
 * Decides on which node a run goes, or that it waits, or is rejected. Books nothing. `random` returns numbers from 0 up to, but not
 * including, 1.
 */
export function place(cluster: Cluster, wanted: Wanted, policy: Policy, random: () => number): Decision {
  const node = choose({ cluster, wanted, policy, random });
  if (node) return { kind: 'place', node: node.facts.name, warm: isWarm(node, wanted), imagePresent: node.images.has(wanted.image) };
  return mayEverTake(cluster, wanted) ? { kind: 'wait' } : { kind: 'reject' };
}

interface View {
  cluster: Cluster;
  wanted: Wanted;
  policy: Policy;
  random: () => number;
}
type Test = (node: ClusterNode) => boolean;

function choose(view: View): ClusterNode | undefined {
  const { cluster, wanted } = view;
  const held = wanted.id === undefined ? undefined : cluster.heldNode(wanted.id);
  if (held && passes(held, wanted, cluster)) return held;
  // A cheap test first: not even a warm start fits on any node.
  if (cluster.mostFree < wanted.memory - wanted.idleMemory) return undefined;
  if (cluster.size <= small) return bestOf(cluster.nodes(), view, () => true);
  return open(view) ?? (wanted.letIn ? bestOf(cluster.heldNodes(), view, () => true) : undefined);
}

/** Chooses among the nodes of a large fleet that are not held. */
function open(view: View): ClusterNode | undefined {
  const { cluster, wanted } = view;
  if (cluster.tree.mostFree < wanted.memory - wanted.idleMemory) return undefined;
  const { avoid } = wanted;
  if (avoid === undefined || avoid.size === 0) return search(view, () => true);
  return search(view, (node) => !avoid.has(node.facts.name)) ?? search(view, (node) => avoid.has(node.facts.name));
}

/** The nodes to consider: those of the smallest set that the node must be in, or those with enough room if they are fewer. */
interface Candidates {
  few: IndexedSet | undefined;
  room: number;
  count: number;
  byRoom: boolean;
  test: Test;
}

/**
 * Prefers nodes with a warm sandbox, then nodes with the image, then all others. The first round only tries a few nodes of each; if it
 * finds none, the second tries every node.
 */
function search(view: View, also: Test): ClusterNode | undefined {
  const { cluster, wanted } = view;
  const holders = cluster.withImage(wanted.image);
  const stages = [
    candidates(cluster.withIdle(wanted.pool), wanted.memory - wanted.idleMemory, view, also),
    candidates(holders, wanted.memory, view, also),
    // Without holders no node has the image to copy; with pulling ahead, it is copied within a run only if no holder ever takes the run.
    ...(holders.size > 0 && !(cluster.pullsAhead && isNearer(cluster, wanted)) ? [candidates(undefined, wanted.memory, view, also)] : []),
  ].filter(({ count }) => count > 0);
  for (const stage of stages) {
    const found = stage.count > small ? glance(stage, view) : bestOf(all(stage, view), view, stage.test);
    if (found) return found;
  }
  for (const stage of stages) {
    const found = stage.count > small ? bestOf(all(stage, view), view, stage.test) : undefined;
    if (found) return found;
  }
  return undefined;
}

function candidates(set: IndexedSet | undefined, room: number, view: View, also: Test): Candidates {
  const few = mostSelective(set, view);
  const roomy = view.cluster.order.count(room);
  const byRoom = few === undefined || roomy < few.size;
  return { few, room, byRoom, count: byRoom ? roomy : few.size, test: (node) => (set?.has(node.slot) ?? true) && also(node) };
}

/** Returns one of many candidates; if many pass, it is nearly the best. */
function glance(stage: Candidates, view: View): ClusterNode | undefined {
  const { few, test } = stage;
  const isCommon = few === undefined || few.size * common >= view.cluster.size;
  return (isCommon ? firstInOrder(stage, view) : undefined) ?? bestOf(sampled(stage, view), view, test);
}

/** Returns the smallest of the sets that the node must be in; undefined for the whole fleet. */
export function mostSelective(set: IndexedSet | undefined, { cluster, wanted }: Pick<View, 'cluster' | 'wanted'>): IndexedSet | undefined {
  let few = set;
  for (const constraint of wanted.constraints) {
    const { key, equal, value } = splitConstraint(constraint);
    if (!equal || value === '') continue;
    const labelled = cluster.withLabel(key, value);
    if (few === undefined || labelled.size < few.size) few = labelled;
  }
  return few;
}

/** Returns the first node that passes in the order of the policy, if it is among the first {@link walk}. */
function firstInOrder({ room, test }: Candidates, { cluster, wanted, policy }: View): ClusterNode | undefined {
  let tries = 0;
  for (const slot of policy.pack === 'spread' ? cluster.tree.leastLoaded(room, steps) : cluster.order.from(room)) {
    const node = cluster.at(slot);
    if (node && test(node) && passes(node, wanted, cluster)) return node;
    if ((tries += 1) >= walk) return undefined;
  }
  return undefined;
}

/** Returns candidates at random. */
function* sampled({ few, room, byRoom, count }: Candidates, { cluster, random }: View): Generator<ClusterNode> {
  const first = byRoom ? cluster.order.first(room) : 0;
  for (let tries = 0; tries < sample; tries += 1) {
    const at = Math.floor(random() * count);
    const node = cluster.at(byRoom ? cluster.order.at(first + at) : (few?.pick(at) ?? -1));
    if (node) yield node;
  }
}

function* all({ few, room, byRoom }: Candidates, { cluster }: View): Generator<ClusterNode> {
  for (const slot of byRoom || !few ? cluster.order.from(room) : few) {
    const node = cluster.at(slot);
    if (node) yield node;
  }
}

function bestOf(nodes: Iterable<ClusterNode>, { cluster, wanted, policy }: View, also: Test): ClusterNode | undefined {
  let best: ClusterNode | undefined;
  for (const node of nodes) {
    // Compares before it tests: only about log n nodes are better than all before them.
    if ((best === undefined || compare(node, best, wanted, policy) < 0) && also(node) && passes(node, wanted, cluster)) best = node;
  }
  return best;
}

/** Compares two nodes that pass by the ranks, in their order; below 0 if the first is better. Of equal nodes the older slot is better. */
function compare(a: ClusterNode, b: ClusterNode, wanted: Wanted, policy: Policy): number {
  const held = holdRank(a, wanted) - holdRank(b, wanted);
  if (held !== 0) return held;
  const avoided = Number(isAvoided(a, wanted)) - Number(isAvoided(b, wanted));
  if (avoided !== 0) return avoided;
  const cold = Number(isWarm(b, wanted)) - Number(isWarm(a, wanted));
  if (cold !== 0) return cold;
  const lacking = Number(b.images.has(wanted.image)) - Number(a.images.has(wanted.image));
  if (lacking !== 0) return lacking;
  const [forA, forB] = [needed(a, wanted), needed(b, wanted)];
  const difference = policy.pack === 'spread' ? a.load(forA) - b.load(forB) : a.free - forA - (b.free - forB);
  return difference || a.slot - b.slot;
}

/** A node that is held for the run is best, one that is held for another worst. */
const holdRank = ({ heldFor }: ClusterNode, { id }: Wanted) => (heldFor === undefined ? 1 : heldFor === id ? 0 : 2);

const isAvoided = (node: ClusterNode, { avoid }: Wanted) => avoid?.has(node.facts.name) ?? false;

/** What is known of kinds of runs: whether any node may ever take them, and which; it is checked first when things have changed. */
const known = new WeakMap<Cluster, Map<string, { limits: number; may: boolean; node: string }>>();
const mostKnown = 10_000;

/** Whether any node may ever take the run. The answer is cached until the facts or images of nodes change. */
export function mayEverTake(cluster: Cluster, wanted: Wanted): boolean {
  const answers = known.get(cluster) ?? new Map<string, { limits: number; may: boolean; node: string }>();
  known.set(cluster, answers);
  const { image, memory, cpus, constraints, architecture, networks } = wanted;
  const key = JSON.stringify([image, memory, cpus, constraints, architecture, networks]);
  const before = answers.get(key);
  if (before?.limits === cluster.limits) return before.may;
  const first = before && cluster.state(before.node);
  const node = first && !refusedForEver(first, wanted, cluster) ? first : firstThatMay(cluster, wanted);
  if (!before && answers.size >= mostKnown) answers.clear();
  answers.set(key, { limits: cluster.limits, may: node !== undefined, node: node?.facts.name ?? '' });
  return node !== undefined;
}

function firstThatMay(cluster: Cluster, wanted: Wanted): ClusterNode | undefined {
  for (const slot of mostSelective(undefined, { cluster, wanted }) ?? []) {
    const node = cluster.at(slot);
    if (node && !refusedForEver(node, wanted, cluster)) return node;
  }
  for (const node of cluster.nodes()) if (!refusedForEver(node, wanted, cluster)) return node;
  return undefined;
}

/** Returns every node's verdict. Nodes that pass come first, the best of them foremost and marked. */
export function explain(cluster: Cluster, wanted: Wanted, policy: Policy): NodeVerdict[] {
  const passing: ClusterNode[] = [];
  const passedOver: NodeVerdict[] = [];
  for (const node of cluster.nodes()) {
    const reasons = reasonsAgainst(node, wanted, cluster);
    if (reasons.length === 0) passing.push(node);
    else passedOver.push({ kind: 'passed_over', node: node.facts.name, reasons });
  }
  passing.sort((a, b) => compare(a, b, wanted, policy));
  const fits = passing.map((node, index): NodeVerdict => ({
    kind: 'passes',
    node: node.facts.name,
    chosen: index === 0,
    ranks: ranksOf(node, wanted, policy),
  }));
  return [...fits, ...passedOver];
}

function ranksOf(node: ClusterNode, wanted: Wanted, { pack }: Policy): Extract<NodeVerdict, { kind: 'passes' }>['ranks'] {
  const more = needed(node, wanted);
  const load = `${(100 * node.load(more)).toFixed(1)} % of ${formatBytes(node.memory)} booked with it`;
  return [
    ...(isAvoided(node, wanted) ? [{ rank: 'avoid' as const, detail: 'an earlier attempt was lost there, or found no room' }] : []),
    { rank: 'warm', detail: isWarm(node, wanted) ? `${node.pools.get(wanted.pool) ?? 0} sandboxes wait` : 'no sandbox waits' },
    { rank: 'image', detail: node.images.has(wanted.image) ? 'is there' : 'to be brought there' },
    { rank: 'load', detail: pack === 'spread' ? load : `${load}, ${formatBytes(node.free - more)} left` },
  ];
}
