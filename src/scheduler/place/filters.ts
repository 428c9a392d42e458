import type { SandboxNetwork } from '../../model/driver-kind.ts';
import { hasSwarmWords, holds, splitConstraint } from '../../model/placing.ts';
import { formatBytes } from '../../model/quantity.ts';
import type { Reason } from '../../model/verdict.ts';
import type { Cluster } from './cluster.ts';
import type { NodeFacts, ClusterNode } from './cluster-node.ts';

/** The run that is to be placed. Memory is in bytes. */
export interface Wanted {
  /** The image's canonical name. */
  image: string;
  /** The pool whose idle sandboxes can serve it. */
  pool: string;
  memory: number;
  cpus: number;
  /** Memory that an idle sandbox has booked already. */
  idleMemory: number;
  /** As in model/placing.ts; all must hold. */
  constraints: readonly string[];
  architecture?: 'amd64' | 'arm64';
  /** Networks that its sandbox needs, which not every driver can give; none if absent. */
  networks?: readonly SandboxNetwork[];
  /** Nodes where an earlier attempt was lost: used only if no other can take it. */
  avoid?: ReadonlySet<string>;
  /** The id of the run, for nodes that are held for it. */
  id?: string;
  /** How long it may be on a node at most, ms; absent if that is not bounded. */
  lastsMs?: number;
  /** Whether it may go to a node that is held for another run. If absent, it may not. */
  letIn?: (node: ClusterNode) => boolean;
}

export type ReasonCode =
  | 'unusable'
  | 'health'
  | 'cordoned'
  | 'held'
  | 'labels'
  | 'architecture'
  | 'driver'
  | 'limits'
  | 'memory_total'
  | 'cpus'
  | 'image'
  | 'memory';

/**
 * A test that a node must pass. The decision is separate from its words: placing is frequent, explaining is rare. `permanent`: no
 * change of load or health can make the node pass.
 */
interface Filter {
  code: ReasonCode;
  refuses: (node: ClusterNode, wanted: Wanted, cluster: Cluster) => boolean;
  permanent: (node: ClusterNode, wanted: Wanted, cluster: Cluster) => boolean;
  text: (node: ClusterNode, wanted: Wanted, cluster: Cluster) => string;
}

const always = () => true;
const never = () => false;
/** Before a node's first probe only its labels are known, and machines behind it may have others. */
const ifProbed = (node: ClusterNode) => node.facts.probed;

/**
 * Whether an idle sandbox can serve it. With constraints, it cannot on a node with several machines: the sandbox may be on a machine
 * where they do not hold.
 */
export const isWarm = (node: ClusterNode, { pool, constraints }: Wanted): boolean =>
  (node.pools.get(pool) ?? 0) > 0 && (constraints.length === 0 || node.facts.machines === undefined);

/** Returns the bytes that a run would book on the node: an idle sandbox has booked its share already. */
export const needed = (node: ClusterNode, wanted: Wanted): number =>
  isWarm(node, wanted) ? wanted.memory - wanted.idleMemory : wanted.memory;

/** Whether all constraints hold for the node, or for one of the machines behind it if its swarm can place by them. */
function admits({ labels, machines }: NodeFacts, constraints: readonly string[], among = machines): boolean {
  if (constraints.length === 0) return true;
  const fits = (of: Readonly<Record<string, string>>) => constraints.every((constraint) => holds(constraint, of));
  if (!among) return fits(labels);
  return unsaid(labels, constraints).length === 0 && among.some(fits);
}

/** Returns the constraints that neither the node nor its swarm can decide. */
function unsaid(labels: Readonly<Record<string, string>>, constraints: readonly string[]): string[] {
  return constraints.filter((constraint) => !Object.hasOwn(labels, splitConstraint(constraint).key) && !hasSwarmWords(constraint));
}

function unmet({ labels, machines }: NodeFacts, constraints: readonly string[]): string {
  if (!machines) {
    const failed = constraints.filter((constraint) => !holds(constraint, labels));
    return failed.map((constraint) => `${constraint} wanted, its label is "${labels[splitConstraint(constraint).key] ?? ''}"`).join(', ');
  }
  const mute = unsaid(labels, constraints);
  if (mute.length > 0) return `${mute.join(', ')} wanted, which a swarm can't check`;
  const failed = constraints.filter((constraint) => !machines.some((of) => holds(constraint, of)));
  if (failed.length === 0) return `${constraints.join(', ')} wanted, and they hold together for none of its machines in use`;
  return failed.map((constraint) => `${constraint} wanted, which holds for none of its machines in use`).join(', ');
}

/** Whether the image can be brought to a node that lacks it: from a ready node of its architecture, or from any that may come back. */
function obtainable(node: ClusterNode, { image }: Wanted, cluster: Cluster, from: 'ready' | 'all'): boolean {
  return node.facts.canObtain && cluster.copies(image, node.facts.architecture)[from] > 0;
}

/** Returns the first of the networks that the node's driver cannot give; undefined if it can give all. */
function missingNetwork(facts: NodeFacts, networks: readonly SandboxNetwork[] = []): SandboxNetwork | undefined {
  return networks.find((network) => !facts.networks.includes(network));
}

/** The filters, in the order in which their reasons are reported. */
export const filters: readonly Filter[] = [
  {
    code: 'unusable',
    refuses: (node) => node.health === 'unusable',
    permanent: always,
    text: (node) => node.why ?? 'it may not serve',
  },
  {
    code: 'health',
    refuses: (node) => node.health !== 'ready' && node.health !== 'unusable',
    permanent: never,
    text: (node) => `it is ${node.health}${node.why === undefined ? '' : `: ${node.why}`}`,
  },
  { code: 'cordoned', refuses: (node) => node.cordoned !== 'no', permanent: never, text: (node) => `it is ${node.cordoned}` },
  {
    code: 'held',
    refuses: (node, { id, letIn }) => node.heldFor !== undefined && node.heldFor !== id && letIn?.(node) !== true,
    permanent: never,
    text: (node) => `its memory is held for the run ${node.heldFor ?? ''}, which has waited long`,
  },
  {
    code: 'labels',
    refuses: ({ facts }, { constraints }) => !admits(facts, constraints),
    // A node that was not probed may have machines behind it, with labels of their own.
    permanent: ({ facts }, { constraints }) =>
      facts.machinesOfAll ? !admits(facts, constraints, facts.machinesOfAll) : facts.probed && !facts.severalMachines,
    text: ({ facts }, { constraints }) => unmet(facts, constraints),
  },
  {
    code: 'architecture',
    refuses: (node, { architecture }) => architecture !== undefined && node.facts.architecture !== architecture,
    permanent: ifProbed,
    text: (node, { architecture }) => `${architecture ?? ''} wanted, it is ${node.facts.architecture}`,
  },
  {
    code: 'driver',
    refuses: ({ facts }, { networks }) => missingNetwork(facts, networks) !== undefined,
    permanent: ifProbed,
    text: ({ facts }, { networks }) =>
      missingNetwork(facts, networks) === 'rsync'
        ? `it is served by the driver ${facts.driver ?? 'unknown'}, which has no network for rsync, and the run fetches its files by rsync`
        : `it is served by the driver ${facts.driver ?? 'unknown'}, which gives programs no network, and the profile does`,
  },
  {
    code: 'limits',
    refuses: (node) => node.facts.memoryLimits === 'missing',
    permanent: ifProbed,
    text: () => 'its kernel enforces no memory limits',
  },
  {
    code: 'memory_total',
    refuses: ({ facts }, { memory }) => memory > facts.memory || (facts.largest !== undefined && memory > facts.largest.memory),
    permanent: ({ facts }, { memory }) => facts.probed && !(facts.largestOfAll !== undefined && memory <= facts.largestOfAll.memory),
    text: ({ facts }, { memory }) => {
      const asked = `memory: ${formatBytes(memory)} asked for`;
      if (!facts.largest) return `${asked}; it has ${formatBytes(facts.memory)} for sandboxes, of ${formatBytes(facts.total)}`;
      return `${asked}; its largest machine has ${formatBytes(facts.largest.memory)} for sandboxes`;
    },
  },
  {
    code: 'cpus',
    refuses: ({ facts }, { cpus }) => cpus > facts.cpus || (facts.largest !== undefined && cpus > facts.largest.cpus),
    permanent: ({ facts }, { cpus }) => facts.probed && !(facts.largestOfAll !== undefined && cpus <= facts.largestOfAll.cpus),
    text: ({ facts }, { cpus }) =>
      `cpus: ${cpus} asked for; ${facts.largest ? 'its largest machine' : 'it'} has ${facts.largest?.cpus ?? facts.cpus}`,
  },
  {
    code: 'image',
    refuses: (node, wanted, cluster) =>
      !node.images.has(wanted.image) && (!obtainable(node, wanted, cluster, 'ready') || (cluster.pullsAhead && isNearer(cluster, wanted))),
    permanent: (node, wanted, cluster) =>
      node.facts.probed &&
      node.health !== 'probing' &&
      !obtainable(node, wanted, cluster, 'all') &&
      !(node.facts.canObtain && cluster.probing),
    text: (node, wanted, cluster) => {
      if (!node.facts.probed) return 'its images are not known yet';
      const elsewhere = cluster.withImage(wanted.image).size > 0;
      if (obtainable(node, wanted, cluster, 'ready'))
        return `it lacks the image ${wanted.image}, which is copied there while other nodes that have it are full`;
      return elsewhere ? `it lacks the image ${wanted.image}, which can't be brought there now` : `no node has the image ${wanted.image}`;
    },
  },
  {
    code: 'memory',
    refuses: (node, wanted) => wanted.memory <= node.facts.memory && needed(node, wanted) > node.free,
    permanent: never,
    text: (node, wanted) =>
      `memory: ${formatBytes(needed(node, wanted))} wanted, ${formatBytes(Math.max(0, node.free))} free of ${formatBytes(node.facts.memory)}`,
  },
];

export function passes(node: ClusterNode, wanted: Wanted, cluster: Cluster): boolean {
  if (needed(node, wanted) > node.free) return false; // the most frequent reason first
  for (const filter of filters) if (filter.refuses(node, wanted, cluster)) return false;
  return true;
}

/** Returns every reason against a node; none if it passes. */
export function reasonsAgainst(node: ClusterNode, wanted: Wanted, cluster: Cluster): Reason[] {
  return filters
    .filter((filter) => filter.refuses(node, wanted, cluster))
    .map(({ code, permanent, text }) => ({ code, permanent: permanent(node, wanted, cluster), text: text(node, wanted, cluster) }));
}

export function refusedForEver(node: ClusterNode, wanted: Wanted, cluster: Cluster): boolean {
  return filters.some((filter) => filter.refuses(node, wanted, cluster) && filter.permanent(node, wanted, cluster));
}

/**
 * Returns how many bytes must give way on the node so that the run fits: 0 if it fits, undefined if it does not fit either way. Of idle
 * sandboxes that can serve the run, one stays for it.
 */
export function lacking(node: ClusterNode, wanted: Wanted): number | undefined {
  if (node.free + node.gives < wanted.memory) return undefined;
  return Math.max(0, needed(node, wanted) - node.free);
}

/** Whether the node would take the run if its memory were free. */
export function passesButForMemory(node: ClusterNode, wanted: Wanted, cluster: Cluster): boolean {
  return filters.every((filter) => filter.code === 'memory' || !filter.refuses(node, wanted, cluster));
}

const knownNearer = new WeakMap<Wanted, { cluster: Cluster; topology: number; nearer: boolean }>();

/**
 * Whether a node that has the image will take the run as soon as it has room. Then the run waits for that node, or for a copy of the
 * image that is made ahead of runs ({@link Cluster.pullsAhead}), and no node brings the image within the run.
 */
export function isNearer(cluster: Cluster, wanted: Wanted): boolean {
  const last = knownNearer.get(wanted);
  if (last?.cluster === cluster && last.topology === cluster.topology) return last.nearer;
  let nearer = false;
  for (const slot of cluster.withImage(wanted.image)) {
    const node = cluster.at(slot);
    if (!node || !takesInTime(node, wanted, cluster)) continue;
    nearer = true;
    break;
  }
  knownNearer.set(wanted, { cluster, topology: cluster.topology, nearer });
  return nearer;
}

/** Whether the node, which has the image, would take the run but for what others use of it now. */
function takesInTime(node: ClusterNode, wanted: Wanted, cluster: Cluster): boolean {
  if (!node.usable || wanted.avoid?.has(node.facts.name) === true) return false;
  return filters.every(({ code, refuses }) => code === 'memory' || code === 'held' || !refuses(node, wanted, cluster));
}
