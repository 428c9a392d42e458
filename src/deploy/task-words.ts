import { phaseOf } from '../drivers/docker/task-states.ts';

/** The fields of a swarm's task that are read. */
export interface TaskView {
  ID: string;
  CreatedAt: string;
  DesiredState: string;
  NodeID?: string | undefined;
  Status: { State: string; Err?: string | undefined; Message?: string | undefined; ContainerStatus?: { ExitCode?: number } | undefined };
}

export const hasFailed = ({ Status, DesiredState }: TaskView): boolean =>
  phaseOf(Status.State) === 'failed' || (Status.State === 'complete' && DesiredState !== 'remove');

/** Describes a task's state, and its failure if it has failed. */
export function taskWords(task: TaskView, node: string): string {
  const { State, Err, ContainerStatus } = task.Status;
  switch (State) {
    case 'new':
    case 'allocated':
      return 'waits for the swarm';
    case 'pending':
      return Err ? `no node can take it: ${pendingWords(Err)}` : 'waits for a node';
    case 'assigned':
    case 'accepted':
    case 'preparing':
    case 'ready':
      return `is being prepared on ${node}`;
    case 'starting':
      return `has started on ${node}, and is not healthy yet`;
    case 'running':
      return `is healthy on ${node}`;
    case 'complete':
      return `ended by itself on ${node}`;
    case 'shutdown':
      return `has ended on ${node}`;
    default:
      return `failed on ${node}: ${failureWords(Err ?? State, ContainerStatus?.ExitCode)}`;
  }
}

/**
 * Rewords swarmkit's reasons, such as `no suitable node (host-mode port already in use on 1 node; scheduling constraints not satisfied
 * on 2 nodes)`.
 */
function pendingWords(error: string): string {
  return (/no suitable node \((.*)\)$/.exec(error)?.[1] ?? error)
    .replace(/scheduling constraints not satisfied/g, 'its constraints are not met')
    .replace(/insufficient resources/g, 'too little memory or CPU left')
    .replace(/host-mode port already in use/g, 'its port is used by another service');
}

function failureWords(error: string, exitCode: number | undefined): string {
  if (/address already in use|port is already allocated/i.test(error)) return `its port is taken there (${error})`;
  if (/unhealthy/i.test(error)) return 'its health check did not succeed';
  if (/non-zero exit/i.test(error)) return `it ended with ${exitCode ?? 'an error'}`;
  return error;
}

/** The engine's error for a container that may use more CPUs than the engine has. */
export const tooManyCpus = /range of cpus is from/i;
export const cpusHint = 'KATAFLEET_CPUS says how many CPUs it may use: no more than the node has';

/** Returns what the user can do about a known failure. */
export function taskHint(task: TaskView): string | undefined {
  const error = task.Status.Err ?? '';
  if (/no such image|pull access denied|manifest unknown/i.test(error))
    return 'katafleet images build katafleet, with --host of that node; or katafleet images distribute katafleet';
  if (/port already in use|address already in use|already allocated/i.test(error))
    return 'choose other ports with --listen and --dial-port, or end what uses them';
  if (tooManyCpus.test(error)) return cpusHint;
  if (/constraints not satisfied/i.test(error))
    return 'it runs on a manager that is active: docker node ls; KATAFLEET_CONSTRAINT narrows that';
  if (/insufficient resources/i.test(error)) return 'KATAFLEET_MEMORY_RESERVED says how much it books';
  return undefined;
}
