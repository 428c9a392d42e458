import type { Cluster } from './cluster.ts';
import type { ClusterNode } from './cluster-node.ts';
import { filters, type Wanted } from './filters.ts';

/** Returns the node with the most free memory that would take the run if it had the image, and can get it. */
export function nodeToCopyTo(cluster: Cluster, wanted: Wanted, also: (node: ClusterNode) => boolean): ClusterNode | undefined {
  let best: ClusterNode | undefined;
  for (const node of cluster.nodes()) {
    if (node.images.has(wanted.image) || !node.usable || (best && node.free <= best.free)) continue;
    if (!node.facts.canObtain || cluster.copies(wanted.image, node.facts.architecture).ready === 0) continue;
    if (wanted.avoid?.has(node.facts.name) === true || !also(node)) continue;
    if (filters.every(({ code, refuses }) => code === 'image' || !refuses(node, wanted, cluster))) best = node;
  }
  return best;
}
