import type { Cluster } from './cluster.ts';
import type { ClusterNode } from './cluster-node.ts';
import { filters, type Wanted } from './filters.ts';

const known = new WeakMap<Wanted, { cluster: Cluster; topology: number; nearer: boolean }>();

/**
 * Whether a node that has the image will take the run as soon as it has room. Then the run waits for that node, or for a copy of the
 * image that is made ahead of runs ({@link Cluster.pullsAhead}), and no node brings the image within the run.
 */
export function isNearer(cluster: Cluster, wanted: Wanted): boolean {
  const last = known.get(wanted);
  if (last?.cluster === cluster && last.topology === cluster.topology) return last.nearer;
  let nearer = false;
  for (const slot of cluster.withImage(wanted.image)) {
    const node = cluster.at(slot);
    if (!node || !takesInTime(node, wanted, cluster)) continue;
    nearer = true;
    break;
  }
  known.set(wanted, { cluster, topology: cluster.topology, nearer });
  return nearer;
}

/** Whether the node, which has the image, would take the run but for what others use of it now. */
function takesInTime(node: ClusterNode, wanted: Wanted, cluster: Cluster): boolean {
  if (!node.usable || wanted.avoid?.has(node.facts.name) === true) return false;
  return filters.every(({ code, refuses }) => code === 'memory' || code === 'held' || !refuses(node, wanted, cluster));
}

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
