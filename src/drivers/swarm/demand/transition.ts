import { backoffMs } from '../../../base/backoff.ts';
import type { PoolEffect, PoolState, Seen } from './pool-state.ts';

/** How often the waiting requests are looked at (ms). */
export const lookMs = 1_000;
/** How long the swarm is left alone after a call that failed. */
const pause = { firstMs: 250, mostMs: 5_000 };

/** The state after an event, and what to do, in this order. */
export interface Transition {
  readonly state: PoolState;
  readonly effects: readonly PoolEffect[];
}

export const become = (state: PoolState, ...effects: PoolEffect[]): Transition => ({ state, effects });

/** One transition after another: the effects of both, in order. */
export function chain(first: Transition, next: (state: PoolState) => Transition): Transition {
  const { state, effects } = next(first.state);
  return { state, effects: [...first.effects, ...effects] };
}

/** Compares the numbers in `ms`, unless an earlier time is set already; after a failure not before its pause has passed. */
export function wakeIn(state: PoolState, { now }: Seen, ms: number): Transition {
  const wait = Math.max(ms, state.failures === 0 ? 0 : backoffMs(state.failures, pause));
  if (state.closed || (state.wakeAt !== undefined && state.wakeAt <= now + wait)) return become(state);
  return become({ ...state, wakeAt: now + wait }, { do: 'wake', ms: wait });
}

/** Sets the timer for the waiting requests, unless it is set. */
export function watch(state: PoolState): Transition {
  return state.watching || state.closed ? become(state) : become({ ...state, watching: true }, { do: 'watch', ms: lookMs });
}
