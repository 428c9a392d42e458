import { randomUUID } from 'node:crypto';
import { KatafleetError, messageOf } from '../model/errors.ts';
import type { RunResult } from '../model/result.ts';
import type { QueueEntry } from '../scheduler/queue/entry.ts';
import { sizeClass } from '../scheduler/sizes.ts';
import { type Job, networksOf } from './job.ts';
import type { RunOptions } from '../model/request.ts';

/** Records attempts and ends; the journal implements it. Methods return whether the attempt was still the run's current one. */
export interface Recorder {
  /** Whether it can record an attempt now. No attempt begins while it can't. If absent, it always can. */
  takes?(): boolean;
  begin(id: string, attempt: number, where: { node: string; warm?: boolean; resumed?: boolean }, at: number): void;
  lost(id: string, attempt: number, reason: string, at: number): boolean;
  finish(id: string, attempt: number, result: RunResult, at: number): boolean;
  fail(id: string, attempt: number | undefined, error: KatafleetError, at: number): boolean;
}

export interface SubmitOptions extends RunOptions {
  id?: string;
  /** Attempts made by an earlier process of katafleet. */
  attempts?: number;
  /** How many of those ended because katafleet was stopped: neither the run nor the node is to blame. */
  uncounted?: number;
  /** When the run was accepted, Unix ms. Its age in the queue counts from here. */
  acceptedAt?: number;
  /** An earlier process of katafleet admitted the run: the queue does not check its limits again. */
  recovered?: boolean;
  /** Called when the run is in the queue. If it throws, the run is taken out again. */
  onAdmitted?: () => void;
  /** Called when an attempt begins. Output of an earlier attempt is void. */
  onAttempt?: (attempt: number, node: string) => void;
}

/** A run between its acceptance and its end. */
export interface Ticket {
  id: string;
  job: Job;
  options: SubmitOptions;
  attempts: number;
  /**
   * Attempts that do not count as tries of the run:
   * - katafleet was stopped;
   * - it found no node, no room or no image;
   * - it was in a session's kept sandbox (a fresh one takes its place);
   * - its sandbox was gone before the command began (the first few of those).
   */
  uncounted: number;
  /** Uncounted attempts whose sandbox was gone before the command began, on a healthy node. */
  unbegun: number;
  /** Attempts whose sandbox was gone after the command had begun, on a healthy node. */
  own: number;
  /** Attempts in a row that failed before the command began. */
  setbacks: number;
  /** Until when such attempts may go on, ms of the queue's clock. */
  patience: number | undefined;
  submitted: number;
  avoid: Set<string>;
  /** Attempts refused with node.full although the books showed room. */
  full: number;
  /** The message of the last such refusal or loss, with its node. */
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

/**
 * Returns the run's shape: what a node is chosen by. Limits that no node is chosen by are not in it, and sizes are classes. Its sandbox
 * and its booking have the exact sizes.
 */
function shapeOf({ image, limits, placing }: Job): string {
  const { constraints, architecture } = placing;
  return JSON.stringify([
    image,
    sizeClass(limits.memory),
    Math.ceil(limits.cpus),
    [...constraints].sort(),
    architecture,
    networksOf(limits),
  ]);
}

/** Returns the run's entry for the queue. */
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
    shape: shapeOf(job),
    since,
    deadline: now + job.placing.queueMs,
    value: ticket,
  };
}

/**
 * Returns the run's entry for the queue after a lost attempt. If the command had begun, the run may wait for its full queue time
 * again. Attempts in a row that failed before the command began share one such time.
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

/** The error of a run whose end the journal did not take. */
export const unwritten = (cause: unknown, end: KatafleetError) =>
  new KatafleetError(
    'journal.broken',
    `the end of the run could not be recorded: ${messageOf(cause)} (the run ended with: ${end.message})`,
    {
      cause,
    },
  );

export const cancelled = (cause?: unknown) =>
  new KatafleetError('run.cancelled', 'the run was cancelled before it began', cause === undefined ? {} : { cause });

export const stopping = () => new KatafleetError('service.stopping', 'katafleet is stopping and starts no more runs');

export const asError = (error: unknown) =>
  error instanceof KatafleetError ? error : new KatafleetError('internal', messageOf(error), { cause: error });
