import { reservation } from './backfill.ts';
import type { Cluster } from './place/cluster.ts';
import type { ClusterNode } from './place/cluster-node.ts';
import { lacking, passesButForMemory, type Wanted } from './place/filters.ts';
import { mostSelective } from './place/placement.ts';

/** So many able nodes are compared; the best of them is nearly the best of all. */
const compared = 64;

interface LookOptions {
  now: number;
  /** Only a node where idle and kept sandboxes can make enough room; else also one where runs must end first. */
  onlyGiveWay: boolean;
  /** A node that was held without progress; any other is better. */
  stalledOn: string | undefined;
}

/**
 * Returns the node whose memory is best held for a run that fits nowhere, and how many nodes were looked at: the one where it can start
 * first by what is known, and where the least must give way. None where even an empty node has no room.
 */
export function nodeToHold(
  cluster: Cluster,
  wanted: Wanted,
  { now, onlyGiveWay, stalledOn }: LookOptions,
): { node: ClusterNode | undefined; looked: number } {
  let best: { node: ClusterNode; rank: readonly number[] } | undefined;
  let looked = 0;
  let able = 0;
  for (const node of roomiest(cluster, wanted, onlyGiveWay ? wanted.memory : 0)) {
    looked += 1;
    if (node.heldFor !== undefined) continue;
    const bytes = lacking(node, wanted);
    if (bytes === 0 || (onlyGiveWay && bytes === undefined) || !passesButForMemory(node, wanted, cluster)) continue;
    const at = bytes === undefined ? reservation(node, wanted.memory, now).at : -Infinity;
    const rank = [Number(node.facts.name === stalledOn), Number(bytes === undefined), at, bytes ?? 0, -node.free];
    if (!best || comesBefore(rank, best.rank)) best = { node, rank };
    if ((able += 1) >= compared) break;
  }
  return { node: best?.node, looked };
}

/** Returns the nodes that may be able, those with the most room first if no label narrows them down. */
function* roomiest(cluster: Cluster, wanted: Wanted, room: number): Generator<ClusterNode> {
  const few = mostSelective(undefined, { cluster, wanted });
  const first = cluster.room.first(room);
  if (few && few.size < cluster.room.size - first) {
    for (const slot of few) {
      const node = cluster.at(slot);
      if (node) yield node;
    }
    return;
  }
  for (let place = cluster.room.size - 1; place >= first; place -= 1) {
    const node = cluster.at(cluster.room.at(place));
    if (node) yield node;
  }
}

function comesBefore(a: readonly number[], b: readonly number[]): boolean {
  for (const [at, value] of a.entries()) {
    const other = b[at] ?? 0;
    if (value !== other) return value < other;
  }
  return false;
}
