import { messageOf } from '../../model/errors.ts';
import type { SandboxLimits } from '../../model/profile.ts';
import type { Cluster } from '../../scheduler/place/cluster.ts';
import { type PoolBounds, shareTargets } from '../../scheduler/targets.ts';
import type { Node } from '../node/node.ts';
import type { WarmPool } from './pool.ts';

/** The number of idle sandboxes wanted in the whole fleet. */
export interface FleetPool {
  /** Canonical name of the image. */
  image: string;
  limits: SandboxLimits;
  idle: PoolBounds;
}

export interface SharePoolOptions {
  cluster: Cluster;
  /** Memory that an idle sandbox books, bytes. */
  idleMemory: number;
  onTrouble?: ((message: string) => void) | undefined;
}

/** Distributes the idle sandboxes of one pool over the nodes that are ready now. Never rejects: reports errors as troubles. */
export async function sharePool(
  { image, limits, idle }: FleetPool,
  nodes: readonly { node: Node; cordoned: boolean }[],
  { cluster, idleMemory, onTrouble }: SharePoolOptions,
): Promise<WarmPool[]> {
  const states = nodes.map(({ node: { settings, state, sandboxes }, cordoned }) => {
    const books = cluster.node(settings.name);
    const givesNetwork = limits.joins === undefined || books?.facts.networks.includes('profile') === true;
    return {
      name: settings.name,
      ready: state === 'ready' && !cordoned && givesNetwork,
      hasImage: sandboxes.imageId(image) !== undefined,
      free: (books?.free ?? 0) + idleMemory * (books?.idle ?? 0),
    };
  });
  const [min, max] = [shareTargets(idle.min, states), shareTargets(idle.max, states)];
  const shares = nodes.map(async ({ node: { settings, sandboxes } }) => {
    const { name } = settings;
    const bounds = { min: min.get(name) ?? 0, max: Math.max(min.get(name) ?? 0, max.get(name) ?? 0) };
    if (bounds.max === 0 && !sandboxes.hasPool(image, limits)) return undefined;
    try {
      return await sandboxes.target(image, limits, bounds);
    } catch (error) {
      onTrouble?.(`${name}: no pool of ${image}: ${messageOf(error)}`);
      return undefined;
    }
  });
  return (await Promise.all(shares)).filter((pool) => pool !== undefined);
}
