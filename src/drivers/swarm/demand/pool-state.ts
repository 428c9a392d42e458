import { type ErrorCode, KatafleetError, messageOf } from '../../../model/errors.ts';
import { replicasFor, wantLastsMs } from '../services/replicas.ts';
import { type Brake, braked, isOn, released, type TaskEnd } from './brake.ts';
import type { TaskReport } from './tasks.ts';

/**
 * A change in the number of replicas waits so long, ms: a short run is over before, and its replacement is what was wanted.
 * Measured by `npm run bench:swarm`.
 */
const gatherMs = 100;
const lookMs = 1_000;
/** How often a pool that holds more than is wanted, or nothing at all, looks again, ms. */
const settleLookMs = 5_000;
const [firstPauseMs, longestPauseMs] = [250, 5_000];
/** A swarm that finds no room for so long has none, ms. */
const noRoomMs = 2_000;
/** Where the swarm has made no task for who waits, it is told anew after so long, ms. */
const againMs = 5_000;

/** What keeps the swarm from being told now, and not for ever. */
const passing: readonly ErrorCode[] = ['engine.unreachable', 'engine.timeout', 'engine.conflict', 'swarm.leaderless'];
export const nothing: TaskReport = { words: [], insufficient: false, coming: 0, lacking: [] };

export interface PoolRules {
  /** How long the highest number of replicas is kept, ms. */
  readonly settleMs: number;
  /** How long a service that nobody uses keeps its replicas, ms. */
  readonly lingerMs: number;
  /** How long a run waits for a task before it is told why none comes, ms. */
  readonly patienceMs: number;
}

/** What the swarm is, or should be, told of a service. */
export interface Due {
  /** On our behalf. */
  readonly replicas: number;
  /** Of its tasks' shape. */
  readonly hash: string | undefined;
  /** Ids of nodes that lack the image. */
  readonly excluded: readonly string[];
}

/** All that a service's pool decides by. Times are ms on one clock. */
export interface PoolState {
  readonly name: string;
  readonly rules: PoolRules;
  /** The shape that tasks should have, and what they dial; undefined for a service that was there and that nobody has asked for. */
  readonly shape: { readonly hash: string; readonly address: string } | undefined;
  readonly excluded: readonly string[];
  /** What the swarm was told last, and when. */
  readonly told: Due & { readonly at: number };
  /** Hash of the shape before that. */
  readonly former: string | undefined;
  /** Hash of the shape that the swarm still has, where only its secret is to be another: its tasks serve until then. */
  readonly renewed: string | undefined;
  /** When all of the replicas were wanted last. */
  readonly fullAt: number;
  /** When any was wanted last. */
  readonly usedAt: number;
  /** When a task has dialled in last. */
  readonly tookAt: number;
  /** Another pool lacks room. */
  readonly pressed: boolean;
  readonly brake: Brake;
  /** Whether who waited gave up, and no task has come since. */
  readonly fruitless: boolean;
  /** The swarm is to be told again, though nothing has changed. */
  readonly again: boolean;
  /** What the swarm was told last has not been seen to be so. */
  readonly unseen: boolean;
  /** What is under way with the swarm: one thing at a time. */
  readonly busy: 'no' | 'telling' | 'retiring';
  /** When the numbers are looked at again. */
  readonly wakeAt: number | undefined;
  /** Whether a look at who waits is due by the clock. */
  readonly watching: boolean;
  /** Whether the swarm is being asked for its tasks. */
  readonly looking: boolean;
  /** How long the swarm is left alone after a failure, ms. */
  readonly pauseMs: number;
  readonly noRoomSince: number | undefined;
  readonly failure: { readonly error: unknown } | undefined;
  /** What the swarm said last of the tasks that have not come. */
  readonly report: TaskReport;
  readonly closed: boolean;
}

/** What there is when something happens. */
export interface Seen {
  readonly now: number;
  /** When each of those who wait came, in that order. */
  readonly waiting: readonly number[];
  /** Sandboxes that are handed out. */
  readonly out: number;
  /** How many tasks the machines can start at once. */
  readonly starting: number;
}

export type Happening =
  /** Its service was there before it. */
  | { type: 'adopted' }
  /** Somebody waits for a task. */
  | { type: 'waits' }
  /** Who waits, or what is handed out, has become another number. */
  | { type: 'numbers' }
  | { type: 'dialled' }
  | { type: 'ended'; end: TaskEnd }
  /** `onlySecret`: nothing but the tasks' secret is to be another. */
  | { type: 'reshaped'; shape: { hash: string; address: string }; onlySecret: boolean }
  | { type: 'excluded'; nodes: readonly string[] }
  | { type: 'pressed'; pressed: boolean }
  | { type: 'changed by others' }
  /** The time of `wakeAt`, and that of the look at who waits. `connected`: tasks that have dialled in, spare ones and those handed out. */
  | { type: 'woken' }
  | { type: 'watch'; connected: number }
  | { type: 'told'; due: Due }
  | { type: 'not told'; error: unknown }
  | { type: 'retiring' }
  | { type: 'retired'; gone: boolean }
  | { type: 'reported'; report: TaskReport }
  | { type: 'closed' };
export type PoolEvent = Happening & { seen: Seen };

export type PoolEffect =
  /** In place of an earlier one. */
  | { do: 'wake'; ms: number }
  | { do: 'watch'; ms: number }
  | { do: 'tell'; due: Due }
  /** Ask the swarm for its tasks; `from` is when the one who waits longest came. */
  | { do: 'look'; from: number }
  /** Spare tasks of another shape than this; all of them where it is undefined. */
  | { do: 'give up spares'; but: string | undefined }
  | { do: 'refuse'; whom: 'all' | { last: number } | { until: number }; error: Error }
  | { do: 'lacking'; nodes: readonly string[] }
  | { do: 'pressure' }
  | { do: 'trouble'; message: string };

export interface Transition {
  readonly state: PoolState;
  /** In this order. */
  readonly effects: readonly PoolEffect[];
}

/** `there`: what the swarm has already. */
export function firstState(
  of: Pick<PoolState, 'name' | 'rules' | 'shape'>,
  now: number,
  there?: { replicas: number; hash: string },
): PoolState {
  return {
    ...of,
    excluded: [],
    told: { replicas: there?.replicas ?? 0, hash: there?.hash, excluded: [], at: -Infinity },
    former: undefined,
    renewed: undefined,
    fullAt: now,
    usedAt: now,
    tookAt: -Infinity,
    pressed: false,
    brake: released,
    fruitless: false,
    again: false,
    unseen: false,
    busy: 'no',
    wakeAt: undefined,
    watching: false,
    looking: false,
    pauseMs: 0,
    noRoomSince: undefined,
    failure: undefined,
    report: nothing,
    closed: false,
  };
}

/** What becomes of a pool when something happens, and what is to be done about it. Pure. */
export function next(state: PoolState, event: PoolEvent): Transition {
  const { seen } = event;
  switch (event.type) {
    case 'adopted':
      return kick(state, seen, settleLookMs);
    case 'waits':
      return then(kick(state, seen, state.told.replicas === 0 ? 0 : gatherMs), watch);
    case 'numbers':
      return kick(state, seen, gatherMs);
    case 'dialled':
      return only({ ...state, tookAt: seen.now, fruitless: false });
    case 'ended':
      return ended(state, event.end, seen);
    case 'reshaped':
      return reshaped(state, event, seen);
    case 'excluded':
      return event.nodes.join() === state.excluded.join() ? only(state) : kick({ ...state, excluded: event.nodes }, seen, 0);
    case 'pressed':
      return event.pressed ? kick({ ...state, pressed: true }, seen, 0) : only({ ...state, pressed: false });
    case 'changed by others':
      return kick({ ...state, again: true }, seen, 0);
    case 'woken':
      return woken({ ...state, wakeAt: undefined }, seen);
    case 'watch':
      return watched({ ...state, watching: false }, event.connected, seen);
    case 'told':
      return told(state, event.due, seen);
    case 'not told':
      return notTold(state, event.error, seen);
    case 'retiring':
      return only({ ...state, busy: 'retiring' });
    case 'retired': {
      const none = { replicas: 0, hash: undefined, excluded: [], at: seen.now };
      return settle({ ...state, busy: 'no', told: event.gone ? none : state.told }, seen);
    }
    case 'reported':
      return reported(state, event.report, seen);
    case 'closed': {
      const effects: PoolEffect[] = [
        { do: 'refuse', whom: 'all', error: closedError() },
        { do: 'give up spares', but: undefined },
      ];
      return { state: { ...state, closed: true }, effects };
    }
  }
}

export const closedError = () => new KatafleetError('node.lost', 'the driver is closed');

const only = (state: PoolState, ...effects: PoolEffect[]): Transition => ({ state, effects });

function then(step: Transition, follow: (state: PoolState) => Transition): Transition {
  const { state, effects } = follow(step.state);
  return { state, effects: [...step.effects, ...effects] };
}

/** The numbers are looked at in so many ms, unless they are sooner; after a failure no sooner than its pause. */
function kick(state: PoolState, { now }: Seen, ms: number): Transition {
  const wait = Math.max(ms, state.pauseMs);
  if (state.closed || (state.wakeAt !== undefined && state.wakeAt <= now + wait)) return only(state);
  return only({ ...state, wakeAt: now + wait }, { do: 'wake', ms: wait });
}

function watch(state: PoolState): Transition {
  return state.watching || state.closed ? only(state) : only({ ...state, watching: true }, { do: 'watch', ms: lookMs });
}

function ended(state: PoolState, end: TaskEnd, seen: Seen): Transition {
  const brake = braked(state.brake, end, seen.now);
  const after = { ...state, brake };
  if (!isOn(brake) || isOn(state.brake)) return only(after);
  const message = `${state.name}: its tasks end as soon as they have dialled in; there are no more of them now than runs wait`;
  return then(only(after, { do: 'trouble', message }), (braking) => kick(braking, seen, 0));
}

/** Tasks that wait unused are given up, unless only their secret is to be another. */
function reshaped(state: PoolState, { shape, onlySecret }: Extract<Happening, { type: 'reshaped' }>, seen: Seen): Transition {
  const had = state.shape ? state.shape.hash : state.told.hash;
  if (shape.hash === had) return only({ ...state, shape });
  if (onlySecret) return kick({ ...state, shape, renewed: state.told.hash === had ? had : state.renewed }, seen, 0);
  return then(only({ ...state, shape, renewed: undefined }, { do: 'give up spares', but: undefined }), (after) => kick(after, seen, 0));
}

/** What the numbers call for now. */
function dueOf(before: PoolState, { now, waiting, out, starting }: Seen): { state: PoolState; due: Due; differs: boolean } {
  const wanted = waiting.length + out;
  const { told, rules, shape } = before;
  const state = {
    ...before,
    usedAt: wanted > 0 ? now : before.usedAt,
    fullAt: wanted >= told.replicas ? now : before.fullAt,
  };
  const { usedAt, fullAt } = state;
  // What never came is not waited for as long as what was used.
  const fruitless = state.fruitless && now - usedAt >= rules.patienceMs;
  const pressed = state.pressed || fruitless || isOn(state.brake);
  const view = { now, wanted, waiting: waiting.length, current: told.replicas, fullAt, usedAt, pressed };
  const replicas = replicasFor(view, { starting, settleMs: rules.settleMs, lingerMs: rules.lingerMs });
  // A service that is there and is not used, or that nobody has asked for yet, is left as it is.
  const asItIs = !shape || (replicas === 0 && told.replicas === 0);
  const due: Due = asItIs
    ? { replicas, hash: told.hash, excluded: told.excluded }
    : { replicas, hash: shape.hash, excluded: state.excluded };
  return { state, due, differs: differs(state, due, now) };
}

function differs({ told, again }: PoolState, due: Due, now: number): boolean {
  if (due.hash === undefined) return false;
  if (due.replicas !== told.replicas || due.hash !== told.hash || due.excluded.join() !== told.excluded.join()) return true;
  return again || (told.replicas > 0 && now - told.at > wantLastsMs / 2);
}

function woken(before: PoolState, seen: Seen): Transition {
  if (before.busy !== 'no' || before.closed) return only(before);
  const { state, due, differs: news } = dueOf(before, seen);
  return news ? only({ ...state, again: false, busy: 'telling' }, { do: 'tell', due }) : settle(state, seen);
}

/** The next look, when there is anything to look at. */
function settle(before: PoolState, seen: Seen): Transition {
  if (before.closed) return only(before);
  const { state, differs: news } = dueOf(before, seen);
  if (news) return kick(state, seen, gatherMs);
  return state.told.replicas > 0 ? kick(state, seen, settleLookMs) : only(state);
}

function told(state: PoolState, due: Due, seen: Seen): Transition {
  const before = state.told;
  const reshape = due.hash !== before.hash;
  const after: PoolState = {
    ...state,
    ...(reshape ? { former: before.hash, renewed: undefined } : {}),
    told: { ...due, at: seen.now },
    brake: due.replicas < before.replicas ? { ...state.brake, fewerAt: seen.now } : state.brake,
    busy: 'no',
    pauseMs: 0,
    failure: undefined,
  };
  // What dialled in with the former secret is being ended by the swarm.
  const gone: PoolEffect[] = due.hash === undefined ? [] : [{ do: 'give up spares', but: due.hash }];
  // It is looked at until it is so: where a node could not take its share, others may have taken it before anybody waited.
  const more = due.replicas > before.replicas || reshape || due.excluded.join() !== before.excluded.join();
  const seeing = more && !state.closed ? watch({ ...after, unseen: true }) : only(after);
  return then({ state: seeing.state, effects: [...gone, ...seeing.effects] }, (told) => settle(told, seen));
}

function notTold(state: PoolState, error: unknown, seen: Seen): Transition {
  const pauseMs = Math.min(longestPauseMs, Math.max(firstPauseMs, state.pauseMs * 2));
  const after: PoolState = { ...state, busy: 'no', again: true, pauseMs, failure: { error } };
  const effects: PoolEffect[] = [{ do: 'trouble', message: `${state.name}: ${messageOf(error)}` }];
  // What the swarm refuses it will refuse again; what it can't now it may soon.
  if (error instanceof KatafleetError && !passing.includes(error.code)) effects.push({ do: 'refuse', whom: 'all', error });
  return then({ state: after, effects }, (failed) => settle(failed, seen));
}

/** Who waits for long learns why. A manager that is slow to say it makes nobody wait longer. */
function watched(before: PoolState, connected: number, { now, waiting }: Seen): Transition {
  if (before.closed) return only(before);
  let state = before;
  let since = waiting[0];
  const effects: PoolEffect[] = [];
  const { patienceMs } = state.rules;
  const longAgo = now - patienceMs;
  // As long as some come, who waits is only behind others.
  if (state.tookAt <= longAgo && since !== undefined && since <= longAgo) {
    effects.push({ do: 'refuse', whom: { until: longAgo }, error: outOfPatience(state) });
    state = { ...state, fruitless: true };
    since = waiting.find((at) => at > longAgo);
  }
  if (since === undefined) state = { ...state, report: nothing };
  const waited = since !== undefined && now - since >= lookMs;
  if (!waited) state = { ...state, noRoomSince: undefined };
  if ((waited || state.unseen) && !state.looking) {
    // Others may have some of them: it is not looked for for ever.
    const enough = connected >= state.told.replicas || now - state.told.at >= patienceMs;
    effects.push({ do: 'look', from: since ?? state.told.at });
    state = { ...state, looking: true, unseen: state.unseen && !enough };
  }
  const step = { state, effects };
  return since !== undefined || state.unseen ? then(step, watch) : step;
}

function outOfPatience({ name, rules, shape, failure, report: { words } }: PoolState): KatafleetError {
  if (failure?.error instanceof KatafleetError) return failure.error;
  const waited = `no task of ${name} has dialled in within ${rules.patienceMs / 1000} s`;
  return new KatafleetError('sandbox.failed', `${waited}: ${words.length > 0 ? words.join('; ') : 'the swarm has not made any'}`, {
    hint: `tasks dial ${shape?.address ?? ''}: it must be reachable from every node; swarm.advertise in the configuration names another address`,
  });
}

/** The swarm's own word on tasks that have not come. */
function reported(before: PoolState, report: TaskReport, seen: Seen): Transition {
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
  // What was so of one who waited is not so of those who come later.
  const state = { ...before, looking: false, report: waiting.length === 0 ? nothing : report, noRoomSince: full ? undefined : noRoomSince };
  // The service was removed, or something else came between: what the swarm was told is not so.
  if (words.length === 0 && waiting.length > 0 && now - state.told.at >= againMs)
    return then({ state, effects }, (after) => kick({ ...after, again: true }, seen, 0));
  return { state, effects };
}
