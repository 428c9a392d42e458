import { minute } from '../../base/units.ts';
import { KatafleetError, messageOf } from '../../model/errors.ts';
import type { AcceptedLife, AttemptAt, EndedLife, Life, LifeEffect, LifeEvent, LifeRules, Queued, RunEnding, LifeStep } from './life.ts';
import { type AttemptFault, judge, wordsOf } from './losses.ts';
import type { Tally } from './tally.ts';

/** How long the journal may take to store a new run or to read an old one, ms. The store gives up earlier by itself. */
export const storeMs = minute;
/** How long a broken stream may take to end its attempt, ms: the engine is asked why. */
const breakMs = minute;
/** How long a sandbox may take to end its program after a cancel, ms. */
const cancelMs = minute;
/** Most attempts of one run in one process: an attempt that costs no try is a row in the journal all the same. */
export const mostAttempts = 1_000;

/** The states of a run that has not ended. */
type LifeNotEnded = Exclude<Life, EndedLife>;
type ServingLife = Extract<Life, { phase: 'executing' | 'collecting' }>;
type Trying = Extract<Life, AttemptAt>;

const nothing: readonly LifeEffect[] = [];

/** The state of a run whose room in the queue is reserved. */
export const accepted = (at: number, tally: Tally): AcceptedLife => ({ phase: 'accepted', deadline: at + storeMs, tally });

/**
 * Says what an event makes of a run, and what is to be done. Pure: it has no clock, and changes nothing that it was given. An event that
 * does not fit the state changes nothing.
 */
export function next(life: Life, event: LifeEvent, rules: LifeRules): LifeStep {
  switch (life.phase) {
    case 'accepted':
      return inAccepted(life, event, rules);
    case 'queued':
      return inQueued(life, event);
    case 'placed':
    case 'acquiring':
      return inPlaced(life, event, rules);
    case 'executing':
    case 'collecting':
      return inServing(life, event, rules);
    case 'ended':
      return inEnded(life, event);
  }
}

const stay = (life: Life): LifeStep => ({ life, effects: nothing });

function inAccepted(life: AcceptedLife, event: LifeEvent, rules: LifeRules): LifeStep {
  switch (event.type) {
    case 'stored':
      if (life.wish === 'cancel') return ends({ kind: 'cancelled', error: cancelled() }, [{ do: 'give back' }]);
      if (life.wish === 'stop') return ends({ kind: 'left', error: stopping() }, [{ do: 'give back' }]);
      return waits({ ...life.tally, waitsUntil: event.at + rules.queueMs }, false);
    case 'refused':
      return never(event.error);
    case 'unwritable':
      return ends({ kind: 'failed', error: event.error }, [{ do: 'give back' }]);
    case 'deadline':
      if (event.at < life.deadline) return stay(life);
      return never(new KatafleetError('journal.unavailable', `the journal did not store the run within ${storeMs} ms`));
    case 'cancel':
      return stay({ ...life, wish: 'cancel' });
    case 'stop':
      return stay({ ...life, wish: life.wish ?? 'stop' });
    default:
      return stay(life);
  }
}

/** The run was not stored: its end is told at once. */
function never(error: KatafleetError): LifeStep {
  const end: RunEnding = { kind: 'refused', error };
  return { life: { phase: 'ended', end, told: true }, effects: [{ do: 'give back' }, { do: 'tell', end }] };
}

function waits(tally: Tally, again: boolean, pause?: number): LifeStep {
  const deadline = tally.waitsUntil;
  return {
    life: { phase: 'queued', tally, deadline },
    effects: [{ do: 'enter', deadline, again, ...(pause === undefined ? {} : { pause }) }],
  };
}

function inQueued(life: Queued, event: LifeEvent): LifeStep {
  const { storing } = life;
  const leave: LifeEffect[] = storing ? [] : [{ do: 'leave' }];
  switch (event.type) {
    case 'place': {
      if (storing) return stay(life);
      const attempt = life.tally.attempt + 1;
      const { node, warm, resumed, at } = event;
      const where: AttemptAt = { attempt, node, resumed, ...(warm === undefined ? {} : { warm }) };
      const tally = { ...life.tally, attempt, made: life.tally.made + 1 };
      // A copy of the image may take the rest of the run's wait; the node has time for a sandbox in any case.
      return {
        life: { phase: 'placed', tally, deadline: Math.max(tally.waitsUntil, at), ...where },
        effects: [{ do: 'attempt', ...where }],
      };
    }
    case 'recorded': {
      if (event.attempt !== storing?.attempt) return stay(life);
      if (!event.current) return ends({ kind: 'failed', error: storing.error }); // in the journal it has ended, or has a newer attempt
      return waits(life.tally, true, storing.pause);
    }
    case 'impossible':
    case 'unwritable':
      return ends({ kind: 'failed', error: event.error }, leave);
    case 'deadline':
      return event.at < life.deadline ? stay(life) : ends({ kind: 'failed', error: event.late() }, leave);
    case 'cancel':
      return ends({ kind: 'cancelled', error: cancelled() }, leave);
    case 'stop':
      return ends({ kind: 'left', error: stopping() }, leave);
    default:
      return stay(life);
  }
}

function inPlaced(life: Extract<Life, { phase: 'placed' | 'acquiring' }>, event: LifeEvent, rules: LifeRules): LifeStep {
  if ('attempt' in event && event.attempt !== life.attempt) return stay(life);
  switch (event.type) {
    case 'brought':
      return life.phase === 'placed' ? stay({ ...life, phase: 'acquiring', deadline: event.at + rules.acquireMs }) : stay(life);
    case 'acquired':
      return stay({ ...life, phase: 'executing', deadline: event.at + event.ms, cancelled: false, broken: false });
    case 'failed':
      return failed(life, event, rules);
    case 'unwritable':
      return ends({ kind: 'failed', attempt: life.attempt, error: event.error }, [{ do: 'abort', why: event.error }]);
    case 'cancel': {
      const error = cancelled();
      return ends({ kind: 'cancelled', attempt: life.attempt, error }, [{ do: 'abort', why: error }]);
    }
    case 'stop':
      return stay({ ...life, stopping: true });
    case 'deadline': {
      if (event.at < life.deadline) return stay(life);
      if (life.phase === 'placed') {
        const why = new KatafleetError('engine.timeout', `the image did not come to ${life.node} in the time that the run may wait`);
        const error = new KatafleetError('queue.deadline', why.message, { cause: why, hint: 'give it longer to wait' });
        return ends({ kind: 'failed', attempt: life.attempt, error }, [{ do: 'abort', why }]);
      }
      const error = new KatafleetError('engine.timeout', `${life.node} had no sandbox for the run within ${rules.acquireMs} ms`);
      const fault: AttemptFault = { kind: 'error', error, resumed: life.resumed, answers: false };
      const { life: after, effects } = failed(life, { at: event.at, fault }, rules);
      return { life: after, effects: [{ do: 'abort', why: error }, ...effects] };
    }
    default:
      return stay(life);
  }
}

function inServing(life: ServingLife, event: LifeEvent, rules: LifeRules): LifeStep {
  if ('attempt' in event && event.attempt !== life.attempt) return stay(life);
  switch (event.type) {
    case 'executed':
      return stay({ ...life, phase: 'collecting' });
    case 'extended':
      return life.broken || life.cancelled ? stay(life) : stay({ ...life, deadline: event.at + event.ms });
    case 'done':
      return ends({ kind: 'finished', attempt: life.attempt, result: event.result });
    case 'failed':
      return failed(life, event, rules);
    case 'unwritable':
      return ends({ kind: 'failed', attempt: life.attempt, error: event.error }, [{ do: 'abort', why: event.error }, { do: 'break' }]);
    case 'cancel': {
      if (life.cancelled) return stay(life);
      // The program is killed, and what it printed and changed so far is the result.
      const deadline = Math.min(life.deadline, event.at + cancelMs);
      return { life: { ...life, cancelled: true, deadline }, effects: [{ do: 'abort', why: cancelled() }] };
    }
    case 'stop':
      return stay({ ...life, stopping: true });
    case 'deadline': {
      if (event.at < life.deadline) return stay(life);
      // The supervisor keeps the steps' own limits: whoever gets here has stopped to answer.
      if (!life.broken) return { life: { ...life, broken: true, deadline: event.at + breakMs }, effects: [{ do: 'break' }] };
      const error = new KatafleetError('node.lost', `the run was lost on ${life.node}: its sandbox did not end`);
      const fault: AttemptFault = { kind: 'error', error, resumed: life.resumed, answers: false };
      return failed(life, { at: event.at, fault }, rules);
    }
    default:
      return stay(life);
  }
}

/** An attempt has no result. The run is tried again if another node, or the same one later, may do better. */
function failed(life: Trying, { at, fault }: { at: number; fault: AttemptFault }, rules: LifeRules): LifeStep {
  const { attempt, node } = life;
  const serving = life.phase === 'executing' || life.phase === 'collecting';
  const loss = judge(life.tally, node, fault, rules.attempts);
  if (serving && life.cancelled) {
    const cause = loss?.error ?? (fault.kind === 'error' ? fault.error : undefined);
    const error = new KatafleetError('run.cancelled', `the run was cancelled; its sandbox on ${node} was lost`, { cause });
    return ends({ kind: 'cancelled', attempt, error });
  }
  if (!loss) {
    const error = fault.kind === 'error' ? fault.error : new KatafleetError('internal', `the attempt on ${node} was lost: ${fault.reason}`);
    return error.code === 'service.stopping' ? ends({ kind: 'left', attempt, error }) : ends({ kind: 'failed', attempt, error });
  }
  if (loss.own) return ends({ kind: 'finished', attempt, result: loss.own });
  if (life.stopping) return ends({ kind: 'left', attempt, error: stopping() });
  const doubt: LifeEffect[] = loss.doubt ? [{ do: 'doubt', node, error: loss.error }] : [];
  const full: LifeEffect[] = loss.error.code === 'node.full' && loss.avoid ? [{ do: 'make room', node }] : [];
  const tries = loss.tally.tries + Number(loss.counts);
  if ((loss.counts && tries >= rules.attempts) || loss.tally.made >= mostAttempts) {
    return ends({ kind: 'failed', attempt, error: loss.error }, [...doubt, ...full]);
  }
  const avoid = loss.avoid ? new Set(loss.tally.avoid).add(node) : loss.tally.avoid;
  const tally: Tally = { ...loss.tally, tries, avoid, why: wordsOf(node, loss), ...patienceAfter(loss.tally, loss.error, at, rules) };
  const pause = loss.pauseMs > 0 ? { pause: at + loss.pauseMs } : {};
  return {
    life: { phase: 'queued', tally, deadline: tally.waitsUntil, storing: { attempt, error: loss.error, ...pause } },
    effects: [...doubt, ...full, { do: 'record loss', attempt, reason: loss.error.message, counts: loss.counts }],
  };
}

/**
 * How long the run may wait after a lost attempt. If the command had begun, it may wait for its full queue time again. Attempts in a
 * row that failed before the command began share one such time; those on a full node get none.
 */
function patienceAfter(tally: Tally, error: KatafleetError, at: number, { queueMs }: LifeRules): Pick<Tally, 'patience' | 'waitsUntil'> {
  if (error.code === 'node.full') return { patience: tally.patience, waitsUntil: tally.waitsUntil };
  const patience = tally.setbacks > 0 ? (tally.patience ?? at + queueMs) : undefined;
  return { patience, waitsUntil: Math.max(tally.waitsUntil, patience ?? at + queueMs) };
}

function ends(end: RunEnding, before: readonly LifeEffect[] = nothing): LifeStep {
  return { life: { phase: 'ended', end, told: false }, effects: [...before, { do: 'write', end }] };
}

function inEnded(life: EndedLife, event: LifeEvent): LifeStep {
  const { end } = life;
  if (life.told) return event.type === 'stored' && end.kind === 'refused' ? { life, effects: [{ do: 'withdraw' }] } : stay(life);
  switch (event.type) {
    case 'written':
      return tells(end.kind === 'finished' && !event.current ? { kind: 'failed', attempt: end.attempt, error: notTaken(end) } : end);
    case 'unwritable': {
      if (end.kind === 'finished') {
        // Its result can never be stored, but that it failed can.
        const failure: RunEnding = { kind: 'failed', attempt: end.attempt, error: event.error };
        return { life: { phase: 'ended', end: failure, told: false }, effects: [{ do: 'write', end: failure }] };
      }
      return tells({ kind: 'failed', error: unwritten(event.error, end) });
    }
    default:
      return stay(life);
  }
}

const tells = (end: RunEnding): LifeStep => ({ life: { phase: 'ended', end, told: true }, effects: [{ do: 'tell', end }] });

/** Whether a state is one of a run that has not ended. */
export const isUnderway = (life: Life): life is LifeNotEnded => life.phase !== 'ended';

const notTaken = ({ attempt }: { attempt: number }) =>
  new KatafleetError('journal.broken', `the journal did not take the result of attempt ${attempt}: in it the run has another end`);

/** The error of a run whose end the journal can never take. The next start of katafleet takes the run up again. */
const unwritten = (cause: KatafleetError, end: RunEnding) => {
  const words = end.kind === 'finished' ? 'a result' : end.error.message;
  return new KatafleetError('journal.broken', `the end of the run could not be recorded: ${cause.message} (the run ended with: ${words})`, {
    cause,
  });
};

export const cancelled = () => new KatafleetError('run.cancelled', 'the run was cancelled before it began');

export const stopping = () => new KatafleetError('service.stopping', 'katafleet is stopping and starts no more runs');

/** Any thrown value as an error with a code. */
export const asError = (error: unknown): KatafleetError =>
  error instanceof KatafleetError ? error : new KatafleetError('internal', messageOf(error), { cause: error });
