import { holds, splitConstraint } from '../../model/placing.ts';
import type { SandboxLimits } from '../../model/profile.ts';
import type { Machine } from '../../model/node.ts';
import { machineLabels } from './facts.ts';

/** Returns the limits of a run's sandbox on a swarm's node, with the constraints that its machine must satisfy. */
export function constrainedLimits(
  limits: SandboxLimits,
  constraints: readonly string[],
  { labels, machines }: { labels: Readonly<Record<string, string>>; machines: readonly Machine[] | undefined },
): SandboxLimits {
  // Leaves out constraints that hold for every machine or for the node itself: each invented `zone!=x` would make a pool of its own.
  const free = (constraint: string) =>
    Object.hasOwn(labels, splitConstraint(constraint).key) || (machines?.every((one) => holds(constraint, machineLabels(one))) ?? false);
  const left = constraints.filter((constraint) => !free(constraint));
  return left.length > 0 ? { ...limits, machines: [...new Set(left)].toSorted() } : limits;
}
