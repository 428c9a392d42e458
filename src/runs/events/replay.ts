import { shownOutput } from '../../model/output.ts';
import type { KeptRecord } from '../../model/record.ts';
import { comparePlaces, eventId, type EventPlace, type RunEvent } from '../../model/run-event.ts';
import type { EventBody } from './run-log.ts';

/** Events that are told from the record have this for their attempt's number: no attempt has it, so no id is used twice. */
export const replayAttempt = 999_999_999;

/**
 * Tells an ended run from its record: what is kept of the events, the output as one event for each stream of a step. Returns those
 * after a place, `most` at most.
 */
export function replay(record: KeptRecord, after: EventPlace, most = Infinity): RunEvent[] {
  const events: RunEvent[] = [];
  let seq = 0;
  const add = (at: number, body: EventBody) => {
    seq += 1;
    const place = { attempt: replayAttempt, seq };
    if (events.length < most && comparePlaces(place, after) > 0) events.push({ id: eventId(place), at, ...body });
  };
  const begin = { attempt: replayAttempt, seq: 0 };
  if (comparePlaces(after, begin) < 0 && after.attempt + after.seq > 0) {
    const to = eventId(begin);
    const from = eventId({ ...after, seq: after.seq + 1 });
    events.push({ id: to, at: record.endedAt ?? record.acceptedAt, type: 'gap', from, to });
  }
  if (after.attempt + after.seq > 0) add(record.acceptedAt, { type: 'void', reason: 'the run is told again from its record' });
  else seq += 1;
  tell(record, add);
  return events;
}

function tell(
  { acceptedAt, endedAt = acceptedAt, attempts, result, state, error }: KeptRecord,
  add: (at: number, body: EventBody) => void,
) {
  add(acceptedAt, { type: 'queued' });
  for (const { node, warm, resumed, startedAt, endedAt: until = endedAt, state: how, reason } of attempts) {
    add(startedAt, { type: 'placed', node });
    add(startedAt, { type: 'attempt', node, resumed, ...(warm === undefined ? {} : { warm }) });
    if (how === 'lost') add(until, { type: 'void', reason: reason ?? 'the attempt was lost' });
  }
  for (const [step, whole] of result?.steps.entries() ?? []) {
    const { stdout, stderr, stdoutTail: _out, stderrTail: _err, ...facts } = whole;
    if (stdout.length > 0 || whole.stdoutCut) add(endedAt, { type: 'stdout', step, bytes: shownOutput(whole, 'stdout') });
    if (stderr.length > 0 || whole.stderrCut) add(endedAt, { type: 'stderr', step, bytes: shownOutput(whole, 'stderr') });
    add(endedAt, { type: 'step', step, ...facts });
  }
  for (const body of result ? fileEvents(result.changes) : []) add(endedAt, body);
  add(endedAt, endedEvent({ state, outcome: result?.outcome, error }));
}

type Files = NonNullable<KeptRecord['result']>['changes'];

/** The events of what a run changed. */
export function* fileEvents({ files, deleted }: Files): Generator<Extract<EventBody, { type: 'file' }>> {
  for (const { path, change, content } of files) {
    yield { type: 'file', path, change, bytes: Buffer.isBuffer(content) ? content.length : content.bytes };
  }
  for (const path of deleted) yield { type: 'file', path, change: 'deleted' };
}

/** The last event of a run. */
export function endedEvent({
  state,
  outcome,
  error,
}: Pick<KeptRecord, 'state' | 'error'> & { outcome: NonNullable<KeptRecord['result']>['outcome'] | undefined }): Extract<
  EventBody,
  { type: 'ended' }
> {
  const how = state === 'finished' || state === 'cancelled' ? state : 'failed';
  return { type: 'ended', state: how, ...(outcome ? { outcome } : {}), ...(error ? { error } : {}) };
}
