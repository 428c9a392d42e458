import { z } from 'zod';
import { base64 } from './json.ts';
import { ReadOutcome } from './outcome.ts';
import { RunFailure } from './record.ts';
import { StepFacts } from './result.ts';

/**
 * What happens to a run, event by event. Each event has an id, `ATTEMPT.SEQ`, that no other event of the run ever has, over restarts of
 * katafleet too. ATTEMPT is 0 before the first attempt. Readers go on after the last id that they have.
 */

/** An id, as two whole numbers. SEQ begins with 1; 0 stands before all events of the attempt. */
export const EventId = z.string().regex(/^(0|[1-9]\d{0,14})\.(0|[1-9]\d{0,14})$/, 'must be ATTEMPT.SEQ, two whole numbers such as 1.17');

/** Stands before all events of a run. */
export const firstEvent = '0.0';

export interface EventPlace {
  attempt: number;
  seq: number;
}

/** Reads an id that {@link EventId} takes. */
export function placeOf(id: string): EventPlace {
  const at = id.indexOf('.');
  return { attempt: Number(id.slice(0, at)), seq: Number(id.slice(at + 1)) };
}

export const eventId = ({ attempt, seq }: EventPlace): string => `${attempt}.${seq}`;

/** Less than 0 if `a` came before `b`. */
export const comparePlaces = (a: EventPlace, b: EventPlace): number => a.attempt - b.attempt || a.seq - b.seq;

const head = { id: EventId, /** Unix ms. */ at: z.number() };
const step = z.int().min(0);

/** The events but for those of output. A field that is added later has a default. */
const plain = [
  /** It waits. `position`: its place in the queue, 1 for the next. */
  z.object({ ...head, type: z.literal('queued'), position: z.int().exactOptional() }),
  /** It has a node, and waits there for its sandbox. */
  z.object({ ...head, type: z.literal('placed'), node: z.string() }),
  /** An attempt begins; the attempt's number is that of the event's id. `warm` and `resumed` are those of the attempt's record. */
  z.object({ ...head, type: z.literal('attempt'), node: z.string(), warm: z.boolean().exactOptional(), resumed: z.boolean() }),
  /** The output, steps and files that were told before are void: the attempt was lost, or they are told again from the record. */
  z.object({ ...head, type: z.literal('void'), reason: z.string() }),
  /** A step has ended. `step` counts from 0. */
  z.object({ ...head, type: z.literal('step'), step, ...StepFacts.shape }),
  /** A file came back, or is gone. `bytes` is its size. Its content is in the result. */
  z.object({
    ...head,
    type: z.literal('file'),
    path: z.string(),
    change: z.enum(['created', 'changed', 'deleted']),
    bytes: z.number().min(0).exactOptional(),
  }),
  /** The last event. `outcome`: of a finished run; `error`: of a failed one. */
  z.object({
    ...head,
    type: z.literal('ended'),
    state: z.enum(['finished', 'failed', 'cancelled']),
    outcome: ReadOutcome.exactOptional(),
    error: RunFailure.exactOptional(),
  }),
  /**
   * Events from `from` to `to`, both included, are not kept: live output beyond the window, or all that an earlier katafleet told. The
   * id is that of `to`.
   */
  z.object({ ...head, type: z.literal('gap'), from: EventId, to: EventId }),
] as const;

const printed = { ...head, step };
const bytes = z.custom<Buffer>((value) => Buffer.isBuffer(value), 'expected bytes');

export const RunEvent = z.discriminatedUnion('type', [
  ...plain,
  z.object({ ...printed, type: z.literal('stdout'), bytes }),
  z.object({ ...printed, type: z.literal('stderr'), bytes }),
]);
export type RunEvent = z.output<typeof RunEvent>;

/** Reads an event as the API answers it: the bytes of output are base64. */
export const RunEventJson = z.discriminatedUnion('type', [
  ...plain,
  z.object({ ...printed, type: z.literal('stdout'), bytes: base64 }),
  z.object({ ...printed, type: z.literal('stderr'), bytes: base64 }),
]);

/** Returns an event as JSON. */
export const eventJson = (event: RunEvent): object =>
  event.type === 'stdout' || event.type === 'stderr' ? { ...event, bytes: event.bytes.toString('base64') } : event;
