import { holds, splitConstraint } from '../../model/placing.ts';
import type { SandboxLimits } from '../../model/profile.ts';
import type { Machine } from '../../model/node.ts';
import { machineLabels } from './facts.ts';

/** The limits of a run's sandbox on a swarm's node: with the constraints that its machine must satisfy. */
export function constrainedLimits(
  limits: SandboxLimits,
  constraints: readonly string[],
  { labels, machines }: { labels: Readonly<Record<string, string>>; machines: readonly Machine[] | undefined },
): SandboxLimits {
  // What holds of every machine, or of the node itself, makes no pool of its own: else each made-up `zone!=x` would.
  const free = (constraint: string) =>
    Object.hasOwn(labels, splitConstraint(constraint).key) || (machines?.every((one) => holds(constraint, machineLabels(one))) ?? false);
  const left = constraints.filter((constraint) => !free(constraint));
  return left.length > 0 ? { ...limits, machines: [...new Set(left)].toSorted() } : limits;
}
