import { KatafleetError } from '../../../model/errors.ts';
import { inSeconds } from '../../../model/quantity.ts';
import { noReport, type PoolEffect, type PoolState, type Seen } from './pool-state.ts';
import type { TaskReport } from './tasks.ts';
import { become, chain, lookMs, type Transition, wakeIn, watch } from './transition.ts';

/** How long the swarm must find no room before requests are refused for it (ms). */
const noRoomMs = 2_000;
/** If the swarm has made no task for the waiting requests after this time, the service is set again (ms). */
const againMs = 5_000;

/** Looks at the waiting requests. Those that are out of patience are refused at once, also while a manager is slow to report. */
export function watched(before: PoolState, connected: number, { now, waiting }: Seen): Transition {
  if (before.closed) return become(before);
  let state = before;
  let since = waiting[0];
  const effects: PoolEffect[] = [];
  const { patienceMs } = state.rules;
  const longAgo = now - patienceMs;
  // While tasks dial in, a waiting request is only behind others.
  if (state.dialledAt <= longAgo && since !== undefined && since <= longAgo) {
    effects.push({ do: 'refuse', whom: { until: longAgo }, error: outOfPatience(state) });
    state = { ...state, fruitless: true };
    since = waiting.find((at) => at > longAgo);
  }
  if (since === undefined) state = { ...state, report: noReport };
  const waited = since !== undefined && now - since >= lookMs;
  if (!waited) state = { ...state, noRoomSince: undefined };
  if ((waited || state.unconfirmed) && !state.looking) {
    // Other katafleets may have taken some of the tasks, so the look for them ends after patienceMs.
    const enough = connected >= state.applied.replicas || now - state.applied.at >= patienceMs;
    effects.push({ do: 'look', from: since ?? state.applied.at });
    state = { ...state, looking: true, unconfirmed: state.unconfirmed && !enough };
  }
  const looked = { state, effects };
  return since !== undefined || state.unconfirmed ? chain(looked, watch) : looked;
}

function outOfPatience({ name, rules, shape, failure, report: { words } }: PoolState): KatafleetError {
  if (failure?.error instanceof KatafleetError) return failure.error;
  const waited = `no task of ${name} has dialled in within ${inSeconds(rules.patienceMs)}`;
  return new KatafleetError('sandbox.failed', `${waited}: ${words.length > 0 ? words.join('; ') : 'the swarm has not made any'}`, {
    hint: `tasks dial ${shape?.address ?? ''}: it must be reachable from every node; swarm.advertise in the configuration names another address`,
  });
}

/** Acts on the swarm's report on tasks that have not dialled in. */
export function reported(before: PoolState, report: TaskReport, seen: Seen): Transition {
  const { insufficient, coming, words, lacking } = report;
  const { now, waiting } = seen;
  const effects: PoolEffect[] = [];
  if (lacking.length > 0 && before.shape) effects.push({ do: 'lacking', nodes: lacking });
  if (insufficient && waiting.length > 0) effects.push({ do: 'pressure' });
  const noRoomSince = insufficient ? (before.noRoomSince ?? now) : undefined;
  const full = noRoomSince !== undefined && now - noRoomSince >= noRoomMs;
  if (full) {
    const error = new KatafleetError('node.full', `the swarm has no room for another sandbox: ${words.join('; ')}`);
    effects.push({ do: 'refuse', whom: { last: waiting.length - coming }, error });
  }
  // The report concerns the requests that wait now, not those that come later.
  const state = {
    ...before,
    looking: false,
    report: waiting.length === 0 ? noReport : report,
    noRoomSince: full ? undefined : noRoomSince,
  };
  // No task at all: the service was removed or changed by others.
  if (words.length === 0 && waiting.length > 0 && now - state.applied.at >= againMs)
    return chain({ state, effects }, (after) => wakeIn({ ...after, reapply: true }, seen, 0));
  return { state, effects };
}
