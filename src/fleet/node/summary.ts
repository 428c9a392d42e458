import { maskEndpoint } from '../../model/endpoint.ts';
import type { NodeSummary } from '../../model/node.ts';
import type { NodeView } from '../../scheduler/place/cluster-node.ts';
import type { Node } from './node.ts';

/** Returns what a person sees of a node: its state, its books, and whether it is cordoned. */
export function nodeSummary(node: Node, books: NodeView | undefined, cordon: 'cordoned' | 'draining' | undefined): NodeSummary {
  const { settings, state, fingerprint: found, choice, trouble, sandboxes } = node;
  // A placed run counts before its sandbox exists.
  const quiet = sandboxes.busy === 0 && sandboxes.idle === 0 && (books?.running ?? 0) === 0;
  const others = choice?.passedOver.filter(({ why }) => why !== choice.why); // does not repeat the same reason
  const passedOver = others?.map(({ driver, why }) => `not ${driver}: ${why}`) ?? [];
  return {
    name: settings.name,
    endpoint: maskEndpoint(settings.endpoint),
    state,
    cordoned: cordon === undefined ? 'no' : cordon === 'draining' && quiet ? 'drained' : cordon,
    ...(trouble && state !== 'ready'
      ? { trouble: { code: trouble.code, message: trouble.message, ...(trouble.hint === undefined ? {} : { hint: trouble.hint }) } }
      : {}),
    driver: choice?.driver,
    why: [choice?.why ?? 'not probed yet', ...(choice?.driver === undefined ? [] : passedOver)].join('; '),
    labels: settings.labels,
    engine: found?.engineVersion,
    api: found?.apiVersion,
    architecture: found?.architecture,
    kernel: found?.kernel,
    cgroup: found?.cgroupVersion,
    swarm: found?.swarm,
    storage: found?.storage,
    runtimes: found?.runtimes ?? [],
    enforces: found ? (['memory', 'swap', 'pids', 'cpu'] as const).filter((limit) => found.enforces[limit]) : [],
    cpus: found?.cpus ?? 0,
    memory: {
      total: found?.memory ?? 0,
      bookable: books?.memory ?? 0,
      booked: books?.booked ?? 0,
      ...(books && books.others > 0 ? { others: books.others } : {}),
      free: books?.free ?? 0,
    },
    sandboxes: { idle: sandboxes.idle, busy: sandboxes.busy },
    images: sandboxes.images.length,
    clockSkewMs: found?.clockSkewMs,
    lastSeen: node.lastSeen,
    ...(node.machines ? { members: node.machines } : {}),
  };
}
