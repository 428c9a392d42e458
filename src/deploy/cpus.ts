import type Dockerode from 'dockerode';
import type { StackKind } from './stack.ts';

/** CPUs that katafleet may use, unless its nodes have fewer or KATAFLEET_CPUS is set. */
const most = 2;
/** The stack's constraint in addition to the role, unless KATAFLEET_CONSTRAINT is set. */
const usualConstraint = 'node.platform.os == linux';

/** The fields of a swarm's node that are read: its names and its CPUs. */
export interface SwarmNodeCpus {
  ID: string;
  Spec: { Role: string; Labels?: Record<string, string> | null };
  Description: {
    Hostname: string;
    Platform?: { Architecture?: string; OS?: string };
    Resources?: { NanoCPUs?: number };
    Engine?: { Labels?: Record<string, string> | null };
  };
}

/**
 * Returns the limit of CPUs, in the form of KATAFLEET_CPUS. An engine refuses a container that may use more CPUs than it has. In a
 * swarm, the smallest of the nodes that may get the task decides, because the task may move to it later.
 */
export async function usualCpus(docker: Dockerode, kind: StackKind, constraint: string | undefined): Promise<string> {
  if (kind === 'compose') {
    const { NCPU } = (await docker.info()) as { NCPU?: number };
    return cpuLimit([NCPU ?? most]);
  }
  const nodes = ((await docker.listNodes()) as SwarmNodeCpus[]).filter((node) => mayGetIt(node, constraint || usualConstraint));
  return cpuLimit(nodes.map(({ Description }) => (Description.Resources?.NanoCPUs ?? most * 1e9) / 1e9));
}

/** Returns the limit for nodes with these CPUs. If there is no node, the service reports that later. */
export function cpuLimit(cpus: readonly number[]): string {
  return String(Math.min(most, ...cpus));
}

/** Whether the stack's constraints allow the task on a node. A constraint that cannot be checked here counts as met. */
export function mayGetIt(node: SwarmNodeCpus, constraint: string): boolean {
  if (node.Spec.Role !== 'manager') return false;
  const [, key = '', operator, value = ''] = /^\s*(\S+?)\s*(==|!=)\s*(.*?)\s*$/.exec(constraint) ?? [];
  const found = attribute(node, key);
  if (operator === undefined || found === undefined) return true;
  // swarmkit ignores case in comparisons, see its manager/constraint.
  return (found.toLowerCase() === value.toLowerCase()) === (operator === '==');
}

function attribute({ ID, Spec, Description }: SwarmNodeCpus, key: string): string | undefined {
  const { Hostname, Platform, Engine } = Description;
  const label = /^(node|engine)\.labels\.(.+)$/.exec(key);
  if (label) return (label[1] === 'node' ? Spec.Labels : Engine?.Labels)?.[label[2] ?? ''] ?? '';
  switch (key) {
    case 'node.id':
      return ID;
    case 'node.hostname':
      return Hostname;
    case 'node.role':
      return Spec.Role;
    case 'node.platform.os':
      return Platform?.OS;
    case 'node.platform.arch':
      return Platform?.Architecture;
    default:
      return undefined;
  }
}
