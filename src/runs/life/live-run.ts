import { randomUUID } from 'node:crypto';
import type { RunOptions } from '../../model/request.ts';
import type { QueueEntry } from '../../scheduler/queue/entry.ts';
import { sizeClass } from '../../scheduler/sizes.ts';
import { RunLog } from '../events/run-log.ts';
import { type Job, networksOf } from '../job.ts';
import type { SessionSandbox } from '../sessions/sessions.ts';
import type { Deadline } from './deadlines.ts';
import type { Life, LifeRules, RunEnding } from './life.ts';
import { accepted } from './machine.ts';
import { newTally } from './tally.ts';

export interface SubmitOptions extends RunOptions {
  id?: string;
  /** The number of the last attempt of an earlier process of katafleet. */
  attempts?: number;
  /** How many attempts of an earlier process count as tries. */
  tries?: number;
  /** When an earlier process accepted the run, Unix ms. Its age in the queue counts from here. */
  acceptedAt?: number;
  /** An earlier process of katafleet admitted the run: the queue does not check its limits again. */
  recovered?: boolean;
  /** Called when an attempt begins. Output of an earlier attempt is void. */
  onAttempt?: (attempt: number, node: string) => void;
}

/** The attempt that is under way. */
export interface AttemptControl {
  readonly abort: AbortController;
  /** Breaks the stream of its sandbox, if it has one. */
  break: () => void;
}

/** A run of this process that has not ended, with all that belongs to it. Its life changes only in the dispatcher. */
export interface LiveRun {
  readonly id: string;
  readonly job: Job;
  readonly log: RunLog;
  readonly rules: LifeRules;
  /** When it was accepted, ms of the steady clock. */
  readonly submitted: number;
  /** As it waits in the queue. */
  readonly entry: QueueEntry<LiveRun>;
  readonly recovered: boolean;
  readonly onAttempt: SubmitOptions['onAttempt'];
  life: Life;
  deadline: Deadline | undefined;
  /** The sandbox that its session kept; its memory is booked already, so the run does not wait. */
  reused: SessionSandbox | undefined;
  attempt: AttemptControl | undefined;
  /** Its level in the queue when it was placed: its priority, or higher because it had waited long. */
  level: number;
  /** Give back what the run holds until its end is told: memory for its result. */
  readonly held: (() => void)[];
  /** Called once, when its end is stored. */
  readonly told: (end: RunEnding) => void;
}

export interface NewRun {
  job: Job;
  options: SubmitOptions;
  rules: Omit<LifeRules, 'queueMs'>;
  /** ms of the steady clock. */
  now: number;
  /** What is added to Unix ms for ms of the steady clock: the same for all runs, so that they keep their order. */
  steadyOffset: number;
  log: RunLog | undefined;
  told: (end: RunEnding) => void;
}

/**
 * Returns the run's shape: what a node is chosen by. Limits that no node is chosen by are not in it, and sizes are classes. Its sandbox
 * and its booking have the exact sizes.
 */
export function shapeOf({ image, limits, placing }: Job): string {
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

/** Makes a run that is accepted. Only the age of a run of before comes from wall time; it was not accepted later than now, whatever that says. */
export function newRun({ job, options, rules, now, steadyOffset, log = new RunLog(options.attempts), told }: NewRun): LiveRun {
  const { id = randomUUID(), attempts, tries, recovered = false, acceptedAt } = options;
  const { placing } = job;
  const entry: Omit<QueueEntry<LiveRun>, 'value'> = {
    id,
    tenant: placing.tenant,
    priority: placing.priority,
    memory: job.limits.memory,
    bytes: job.bytes,
    shape: shapeOf(job),
    since: acceptedAt === undefined ? now : Math.min(now, acceptedAt + steadyOffset),
    deadline: now + placing.queueMs,
  };
  log.tap = options.onOutput;
  const run: Omit<LiveRun, 'entry'> = {
    id,
    job,
    log,
    rules: { ...rules, queueMs: placing.queueMs },
    recovered,
    submitted: now,
    onAttempt: options.onAttempt,
    life: accepted(now, newTally({ attempt: attempts, tries })),
    deadline: undefined,
    reused: undefined,
    attempt: undefined,
    level: placing.priority,
    held: [],
    told,
  };
  const live = run as LiveRun & { entry: QueueEntry<LiveRun> };
  live.entry = { ...entry, value: live };
  return live;
}
