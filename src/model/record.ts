import { z } from 'zod';
import { Placing } from './placing.ts';
import { wordOf } from './word.ts';
import { type KeptResult, RunResult } from './result.ts';

/** A run as the journal keeps it from its acceptance on. Times are Unix ms. */

/** `waiting` and `running` runs have not ended. `finished`: it has a result; `failed`: it has an error; `cancelled`: it never began. */
export const RunState = z.enum(['waiting', 'running', 'finished', 'failed', 'cancelled']);
export type RunState = z.output<typeof RunState>;

const ended: readonly RunState[] = ['finished', 'failed', 'cancelled'];

/** Corrects the state of a run that was read: one that only a later release has was read as `running`. */
export function readState<R extends { state: RunState; endedAt?: number | undefined; result?: unknown }>(run: R): R {
  if (run.endedAt === undefined || ended.includes(run.state)) return run;
  return { ...run, state: run.result === undefined ? 'failed' : 'finished' };
}

const time = z.number();

export const AttemptRecord = z.object({
  number: z.int(),
  node: z.string(),
  /** Absent for a later run of a session, which does not wait for a sandbox. */
  warm: z.boolean().optional(),
  /** Whether it ran in the sandbox that its session had kept. */
  resumed: z.boolean().default(false),
  startedAt: time,
  endedAt: time.optional(),
  /** `accepted`: its result is the run's; `lost`: the run is tried again. */
  state: wordOf(z.enum(['running', 'accepted', 'lost', 'failed', 'cancelled']), 'failed'),
  reason: z.string().optional(),
});
export type AttemptRecord = z.output<typeof AttemptRecord>;

/** Why a run failed. The code is one of model/errors.ts, or one that a later release has added. */
export const RunFailure = z.object({ code: z.string(), message: z.string(), hint: z.string().exactOptional() });
export type RunFailure = z.output<typeof RunFailure>;

/** A run without its attempts and its result. */
export const RunSummary = z.object({
  id: z.string(),
  tenant: z.string(),
  /** Its idempotency key. */
  key: z.string().optional(),
  image: z.string(),
  state: wordOf(RunState, 'running'),
  placing: z.object(Placing.shape),
  acceptedAt: time,
  endedAt: time.optional(),
  error: RunFailure.optional(),
});
export type RunSummary = z.output<typeof RunSummary>;

export const RunRecord = z.object({ ...RunSummary.shape, attempts: z.array(AttemptRecord), result: RunResult.optional() });
export type RunRecord = z.output<typeof RunRecord>;

/** A run that was accepted and has not ended, as the journal has it when katafleet starts again. */
export interface UnendedRun extends Pick<RunSummary, 'id' | 'tenant' | 'placing' | 'acceptedAt'> {
  /** Bytes of its request. */
  bytes: number;
  /**
   * The highest number that an attempt of it may have; 0 if it has none. Each opening of the journal adds one, because one attempt may
   * have begun that the journal does not know. So numbers have gaps: nobody counts tries by them.
   */
  lastAttempt: number;
  /** Attempts that count as tries of the run, abandoned ones included. */
  tries: number;
  /** Attempts in which katafleet died. */
  abandoned: number;
  /** Attempts that do not count: katafleet was stopped, or they found no node, room or image. */
  stopped: number;
}

/** A run whose result's large files are read only when they are needed; they are gone when the run is forgotten. */
export interface KeptRecord extends Omit<RunRecord, 'result'> {
  result?: KeptResult | undefined;
}

export { notCounted } from './attempt-reason.ts';
