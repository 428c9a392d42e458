import { replicasFor, wantLastsMs } from '../services/replicas.ts';
import { isOn } from './brake.ts';
import type { PoolState, Seen, ServiceTarget } from './pool-state.ts';

/** What a service should be set to now, and whether that differs from what it was last set to. */
export function targetOf(before: PoolState, seen: Seen): { state: PoolState; target: ServiceTarget; differs: boolean } {
  const { now, waiting, handedOut, starting } = seen;
  const { applied, rules, shape } = before;
  const wanted = waiting.length + handedOut;
  const state = {
    ...before,
    usedAt: wanted > 0 ? now : before.usedAt,
    fullAt: wanted >= applied.replicas ? now : before.fullAt,
  };
  const { usedAt, fullAt } = state;
  // A service that never delivered a task is scaled down after patienceMs, not lingerMs.
  const fruitless = state.fruitless && now - usedAt >= rules.patienceMs;
  const pressed = state.pressed || fruitless || isOn(state.brake);
  const view = { now, wanted, waiting: waiting.length, current: applied.replicas, fullAt, usedAt, pressed };
  const replicas = replicasFor(view, { starting, settleMs: rules.settleMs, lingerMs: rules.lingerMs });
  // A service that is not used, or that no run has asked for yet, keeps its shape.
  const keepsShape = !shape || (replicas === 0 && applied.replicas === 0);
  const target: ServiceTarget = keepsShape
    ? { replicas, hash: applied.hash, excluded: applied.excluded }
    : { replicas, hash: shape.hash, excluded: state.excluded };
  return { state, target, differs: differs(state, target, now) };
}

function differs({ applied, reapply }: PoolState, target: ServiceTarget, now: number): boolean {
  if (target.hash === undefined) return false;
  if (target.replicas !== applied.replicas || target.hash !== applied.hash) return true;
  if (target.excluded.join() !== applied.excluded.join()) return true;
  return reapply || (applied.replicas > 0 && now - applied.at > wantLastsMs / 2);
}
