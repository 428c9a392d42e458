import { randomUUID } from 'node:crypto';
import { KatafleetError, messageOf } from '../model/errors.ts';
import type { RunResult } from '../model/result.ts';
import type { QueueEntry } from '../scheduler/queue/entry.ts';
import type { Job } from './job.ts';
import type { RunOptions } from '../model/request.ts';

/** Where attempts and ends are written down; the journal. Every method answers whether the run still was this attempt's. */
export interface Recorder {
  /** Whether an attempt can be written down now; nothing is begun while it can't. It can if absent. */
  takes?(): boolean;
  begin(id: string, attempt: number, where: { node: string; warm?: boolean; resumed?: boolean }, at: number): void;
  lost(id: string, attempt: number, reason: string, at: number): boolean;
  finish(id: string, attempt: number, result: RunResult, at: number): boolean;
  fail(id: string, attempt: number | undefined, error: KatafleetError, at: number): boolean;
}

export interface SubmitOptions extends RunOptions {
  id?: string;
  /** Attempts that were made before, by a katafleet that died. */
  attempts?: number;
  /** How many of those a katafleet left that was told to end, so that neither run nor node is to blame. */
  uncounted?: number;
  /** Unix ms; its age in the queue is counted from here. */
  acceptedAt?: number;
  /** It was admitted by a katafleet that died, and is not asked to be admitted again. */
  recovered?: boolean;
  /** The run has its place in the queue; what this throws takes it out again. */
  onAdmitted?: () => void;
  /** An attempt begins; output of an earlier one is void. */
  onAttempt?: (attempt: number, node: string) => void;
}

/** A run between its acceptance and its end. */
export interface Ticket {
  id: string;
  job: Job;
  options: SubmitOptions;
  attempts: number;
  /**
   * Attempts that are none of the tries that a run has: that katafleet left when it was told to end, that found no node, no room or
   * no image, in a session's kept sandbox, which a fresh one stands in for, or the first few whose sandbox was gone before the
   * command began.
   */
  uncounted: number;
  /** Of them, those whose sandbox was gone before the command began, on a node that was well. */
  unbegun: number;
  /** Attempts whose sandbox went away after the command had begun, on a node that was well. */
  own: number;
  /** Attempts in a row that came to nothing before the command began; and until when they may go on, ms of the queue's clock. */
  setbacks: number;
  patience: number | undefined;
  submitted: number;
  avoid: Set<string>;
  /** Attempts that found a node full of what its books don't have. */
  full: number;
  /** What the last node said that it found nothing on. */
  why: string | undefined;
  settle: (end: { result: RunResult } | { error: KatafleetError }) => void;
}

export const newTicket = (job: Job, options: SubmitOptions, settle: Ticket['settle']): Ticket => ({
  id: options.id ?? randomUUID(),
  job,
  options,
  attempts: options.attempts ?? 0,
  uncounted: options.uncounted ?? 0,
  unbegun: 0,
  own: 0,
  setbacks: 0,
  patience: undefined,
  submitted: performance.now(),
  avoid: new Set(),
  full: 0,
  why: undefined,
  settle,
});

/** Its place in the queue. */
export function entryOf(ticket: Ticket): QueueEntry<Ticket> {
  const { job, id, options } = ticket;
  const now = Date.now();
  const since = options.acceptedAt ?? now;
  return {
    id,
    tenant: job.placing.tenant,
    priority: job.placing.priority,
    memory: job.limits.memory,
    bytes: job.bytes,
    shape: JSON.stringify([job.pool, job.placing.constraints, job.placing.architecture]),
    since,
    deadline: now + job.placing.queueMs,
    value: ticket,
  };
}

/**
 * Its place in the queue after an attempt that was lost. After one that began, the run may wait as long again; attempts that came to
 * nothing have that time together.
 */
export function requeued(entry: QueueEntry<Ticket>, { pauseMs, error }: { pauseMs: number; error: KatafleetError }): QueueEntry<Ticket> {
  const ticket = entry.value;
  const now = Date.now();
  const { pause: _over, ...rest } = entry;
  const paused = pauseMs > 0 ? { ...rest, pause: now + pauseMs } : rest;
  if (error.code === 'node.full') return paused;
  const until = now + ticket.job.placing.queueMs;
  if (ticket.setbacks > 0) ticket.patience ??= until;
  else ticket.patience = undefined;
  return { ...paused, deadline: Math.max(entry.deadline, ticket.patience ?? until) };
}

/** The journal would not take how a run ended. */
export const unwritten = (cause: unknown, end: KatafleetError) =>
  new KatafleetError('journal.broken', `the end of the run could not be written down: ${messageOf(cause)} (it was: ${end.message})`, {
    cause,
  });

export const cancelled = (cause?: unknown) =>
  new KatafleetError('run.cancelled', 'the run was cancelled before it began', cause === undefined ? {} : { cause });

export const stopping = () => new KatafleetError('service.stopping', 'katafleet is ending and begins no more runs');

export const asError = (error: unknown) =>
  error instanceof KatafleetError ? error : new KatafleetError('internal', messageOf(error), { cause: error });
