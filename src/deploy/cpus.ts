import type Dockerode from 'dockerode';
import type { StackKind } from './stack.ts';

/** CPUs that katafleet takes at most, where its nodes have them and KATAFLEET_CPUS says nothing else. */
const most = 2;
/** What the stack asks for beside the role, unless KATAFLEET_CONSTRAINT says something else. */
const usualConstraint = 'node.platform.os == linux';

/** What is read of a swarm's node: what it is called and has. */
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
 * The limit of CPUs, as KATAFLEET_CPUS has it: an engine refuses a container that may use more than it has. In a swarm the smallest
 * node counts of those that may get the task, now or when it moves.
 */
export async function usualCpus(docker: Dockerode, kind: StackKind, constraint: string | undefined): Promise<string> {
  if (kind === 'compose') {
    const { NCPU } = (await docker.info()) as { NCPU?: number };
    return cpuLimit([NCPU ?? most]);
  }
  const nodes = ((await docker.listNodes()) as SwarmNodeCpus[]).filter((node) => mayGetIt(node, constraint || usualConstraint));
  return cpuLimit(nodes.map(({ Description }) => (Description.Resources?.NanoCPUs ?? most * 1e9) / 1e9));
}

/** Of what each node has. Where there is none, the service's own words tell that later. */
export function cpuLimit(cpus: readonly number[]): string {
  return String(Math.min(most, ...cpus));
}

/** Whether the stack's constraints let a node have the task; one that can't be told counts as one that does. */
export function mayGetIt(node: SwarmNodeCpus, constraint: string): boolean {
  if (node.Spec.Role !== 'manager') return false;
  const [, key = '', operator, value = ''] = /^\s*(\S+?)\s*(==|!=)\s*(.*?)\s*$/.exec(constraint) ?? [];
  const found = attribute(node, key);
  if (operator === undefined || found === undefined) return true;
  // swarmkit compares without regard to case, see its manager/constraint.
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
