import { type ErrorCode, KatafleetError, messageOf } from '../../../model/errors.ts';
import { braked, isOn, type TaskEnd } from './brake.ts';
import { reported, watched } from './missing-tasks.ts';
import {
  closedError,
  type Happening,
  type PoolEffect,
  type PoolEvent,
  type PoolState,
  type Seen,
  type ServiceTarget,
} from './pool-state.ts';
import { targetOf } from './replica-target.ts';
import { become, chain, type Transition, wakeIn, watch } from './transition.ts';

/**
 * How long a change in the number of replicas waits (ms). A short run ends within it, and its replacement serves the next one.
 * Measured by `npm run bench:swarm`.
 */
const gatherMs = 100;
/** How often a pool with replicas compares its numbers (ms). */
const settleLookMs = 5_000;

/** Errors of the swarm that may pass. */
const transientErrors: readonly ErrorCode[] = ['engine.unreachable', 'engine.timeout', 'engine.conflict', 'swarm.leaderless'];

/** Returns the state of a pool after an event, and what to do. Pure. */
export function next(state: PoolState, event: PoolEvent): Transition {
  const { seen } = event;
  switch (event.type) {
    case 'adopted':
      return wakeIn(state, seen, settleLookMs);
    case 'waits':
      return chain(wakeIn(state, seen, state.applied.replicas === 0 ? 0 : gatherMs), watch);
    case 'numbers':
      return wakeIn(state, seen, gatherMs);
    case 'dialled':
      return become({ ...state, dialledAt: seen.now, fruitless: false });
    case 'ended':
      return ended(state, event.end, seen);
    case 'reshaped':
      return reshaped(state, event, seen);
    case 'excluded':
      return event.nodes.join() === state.excluded.join() ? become(state) : wakeIn({ ...state, excluded: event.nodes }, seen, 0);
    case 'pressed':
      return event.pressed ? wakeIn({ ...state, pressed: true }, seen, 0) : become({ ...state, pressed: false });
    case 'changed by others':
      return wakeIn({ ...state, reapply: true }, seen, 0);
    case 'woken':
      return woken({ ...state, wakeAt: undefined }, seen);
    case 'watch':
      return watched({ ...state, watching: false }, event.connected, seen);
    case 'applied':
      return applied(state, event.target, seen);
    case 'apply failed':
      return applyFailed(state, event.error, seen);
    case 'retiring':
      return become({ ...state, busy: 'retiring' });
    case 'retired': {
      const none = { replicas: 0, hash: undefined, excluded: [], at: seen.now };
      return settle({ ...state, busy: 'no', applied: event.removed ? none : state.applied }, seen);
    }
    case 'reported':
      return reported(state, event.report, seen);
    case 'closed':
      return become(
        { ...state, closed: true },
        { do: 'refuse', whom: 'all', error: closedError() },
        { do: 'give up spares', but: undefined },
      );
  }
}

/** A task has ended. Tasks that end as soon as they have dialled in put the brake on. */
function ended(state: PoolState, end: TaskEnd, seen: Seen): Transition {
  const brake = braked(state.brake, end, seen.now);
  const after = { ...state, brake };
  if (!isOn(brake) || isOn(state.brake)) return become(after);
  const message = `${state.name}: its tasks end as soon as they have dialled in; there are now only as many of them as runs wait`;
  return chain(become(after, { do: 'trouble', message }), (braking) => wakeIn(braking, seen, 0));
}

/** The tasks are to have another shape. Gives up the spare tasks, unless only their secret changes. */
function reshaped(state: PoolState, { shape, onlySecret }: Extract<Happening, { type: 'reshaped' }>, seen: Seen): Transition {
  const hash = state.shape ? state.shape.hash : state.applied.hash;
  if (shape.hash === hash) return become({ ...state, shape });
  if (onlySecret) {
    const renewedHash = state.applied.hash === hash ? hash : state.renewedHash;
    return wakeIn({ ...state, shape, renewedHash }, seen, 0);
  }
  const after = become({ ...state, shape, renewedHash: undefined }, { do: 'give up spares', but: undefined });
  return chain(after, (without) => wakeIn(without, seen, 0));
}

/** Compares the numbers, and sets the service if they differ. */
function woken(before: PoolState, seen: Seen): Transition {
  if (before.busy !== 'no' || before.closed) return become(before);
  const { state, target, differs } = targetOf(before, seen);
  return differs ? become({ ...state, reapply: false, busy: 'applying' }, { do: 'apply', target }) : settle(state, seen);
}

/** Plans the next comparison: soon if the numbers differ, later if there are replicas, else none. */
function settle(before: PoolState, seen: Seen): Transition {
  if (before.closed) return become(before);
  const { state, differs } = targetOf(before, seen);
  if (differs) return wakeIn(state, seen, gatherMs);
  return state.applied.replicas > 0 ? wakeIn(state, seen, settleLookMs) : become(state);
}

/** The swarm has set the service. */
function applied(state: PoolState, target: ServiceTarget, seen: Seen): Transition {
  const before = state.applied;
  const reshape = target.hash !== before.hash;
  const after: PoolState = {
    ...state,
    ...(reshape ? { formerHash: before.hash, renewedHash: undefined } : {}),
    applied: { ...target, at: seen.now },
    brake: target.replicas < before.replicas ? { ...state.brake, fewerAt: seen.now } : state.brake,
    busy: 'no',
    failures: 0,
    failure: undefined,
  };
  // The swarm is ending tasks that dialled in with the former secret.
  const spares: PoolEffect[] = target.hash === undefined ? [] : [{ do: 'give up spares', but: target.hash }];
  // Looks for the tasks until all have dialled in: a node may fail to start its share, and no run should wait to find that out.
  const more = target.replicas > before.replicas || reshape || target.excluded.join() !== before.excluded.join();
  const seeing = more && !state.closed ? watch({ ...after, unconfirmed: true }) : become(after);
  return chain({ state: seeing.state, effects: [...spares, ...seeing.effects] }, (then) => settle(then, seen));
}

/** The swarm could not set the service: tries again after a pause. Refuses the requests if the error will not pass. */
function applyFailed(state: PoolState, error: unknown, seen: Seen): Transition {
  const after: PoolState = { ...state, busy: 'no', reapply: true, failures: state.failures + 1, failure: { error } };
  const effects: PoolEffect[] = [{ do: 'trouble', message: `${state.name}: ${messageOf(error)}` }];
  const lasts = error instanceof KatafleetError && !transientErrors.includes(error.code);
  if (lasts) effects.push({ do: 'refuse', whom: 'all', error });
  // Refused requests want no replicas any more.
  return chain({ state: after, effects }, (failed) => settle(failed, lasts ? { ...seen, waiting: [] } : seen));
}
