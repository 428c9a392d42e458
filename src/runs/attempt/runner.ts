import type { Room } from '../../base/byte-budget.ts';
import { within } from '../../base/deadline.ts';
import { KatafleetError, messageOf } from '../../model/errors.ts';
import { type Outcome, outcomeFacts, succeeded } from '../../model/outcome.ts';
import { type Changes, noChanges, type RunResult, type StepResult } from '../../model/result.ts';
import type { PreparedImage, SandboxEnd } from '../../drivers/contract.ts';
import type { ReadySandbox } from '../../fleet/pools/ready-sandbox.ts';
import type { Lease } from '../../fleet/node/sandboxes.ts';
import { ConversationLost } from '../../protocol/conversation.ts';
import { encodeOpen } from '../../protocol/requests.ts';
import type { RunOptions } from '../../model/request.ts';
import { executeStep } from './execute.ts';
import type { Job } from '../job.ts';
import { lightOf } from './lights.ts';
import { askAboutMemory } from '../room/memory.ts';
import type { OutputRoom } from '../room/output-budget.ts';
import { mostWaitMs, PacedRoom } from '../room/paced-room.ts';
import { streamTransfer, type Transfer } from './transfer.ts';

export interface AttemptOptions extends RunOptions {
  /** Whether the sandbox has served its session before. */
  resumed?: boolean;
  /** How long the sandbox may serve after this run (ms); 0 if absent. */
  sessionMs?: number;
  /** Counts the bytes that come back. It is closed as soon as the attempt fails; else the caller closes it, when the result is stored. */
  room?: Room | undefined;
  /** Counts the output; if absent, all output is kept. */
  output?: OutputRoom | undefined;
  /** Hears how the attempt goes on. */
  watch?: AttemptWatch;
}

/** Who ends an attempt on a node that has stopped answering, and tells how far it is. */
export interface AttemptWatch {
  /** The attempt may take so long from now on (ms); nobody else ends it. */
  extended(ms: number): void;
  /** A step has ended. `index` counts from 0. */
  step(index: number, result: StepResult): void;
  /** The last step has ended. */
  executed(): void;
}

/** How long an attempt may take from its sandbox on, beside waits for other runs (ms). The supervisor enforces the steps' own limits. */
export const budgetOf = ({ longestMs }: Pick<Job, 'longestMs'>, { extraMs }: Pick<Transfer, 'extraMs'>): number => longestMs + extraMs;

/** The result of one attempt. */
export type Attempt =
  /** `ended`: the sandbox has ended, so a session cannot use it again. */
  | { kind: 'done'; result: RunEnd; executedAt: number; ended: boolean }
  /** The sandbox ended, and nothing shows that the run caused it. `started`: its command had begun. `result`: the result so far. */
  | { kind: 'lost'; reason: string; started: boolean; silent: boolean; result: RunEnd; executedAt: number };

/** The part of a run's result that the sandbox gives. */
type RunEnd = Pick<RunResult, 'outcome' | 'light' | 'steps' | 'changes'>;

interface Served {
  steps: StepResult[];
  changes: Changes;
  executedAt: number;
  /** The last outcome, if it is not that of a step. */
  ending?: Outcome;
}

/**
 * Makes one attempt at a run in a sandbox of its own.
 * @throws a fault that is neither an outcome nor the node's, such as a file that does not fit
 */
export async function attempt(
  lease: Lease,
  job: Job,
  options: AttemptOptions = {},
  transfer = streamTransfer(lease, job),
): Promise<Attempt> {
  const served: Served = { steps: [], changes: noChanges(), executedAt: 0 };
  try {
    await serve(lease, job, options, transfer, served);
    const ended = served.ending !== undefined || (await askAboutMemory(lease, served.steps, job.request.session !== undefined));
    return { kind: 'done', ...resultOf(served, lease.image), ended };
  } catch (error) {
    if (!(error instanceof AttemptLost)) throw error;
    const { message: reason, started, silent } = error;
    served.executedAt ||= performance.now();
    served.ending = { kind: 'lost', reason };
    return { kind: 'lost', reason, started, silent, ...resultOf(served, lease.image) };
  }
}

class AttemptLost extends Error {
  readonly started: boolean;
  readonly silent: NonNullable<SandboxEnd['silent']>;

  constructor(message: string, started: boolean, silent = false) {
    super(message);
    this.started = started;
    this.silent = silent;
  }
}

/** Serves the run and fills in its results as they come. @throws AttemptLost */
async function serve(
  { sandbox, conversation, lost, user }: Lease,
  job: Job,
  options: AttemptOptions,
  transfer: Transfer,
  served: Served,
): Promise<void> {
  const { profile, steps } = job;
  const budget = budgetOf(job, transfer);
  let started = false;
  const onStarted = () => {
    started = true;
  };
  const late = () => new AttemptLost('there was no room for its changes for too long', false);
  const room =
    options.room &&
    new PacedRoom(options.room, {
      wait: async (ms, granted) => {
        options.watch?.extended(ms + budget); // other runs are waited for, not this node
        try {
          await within(ms, () => granted, { signals: [options.signal, lost], late });
        } finally {
          options.watch?.extended(budget);
        }
      },
      tooSlow: (why) => sandbox.stream.destroy(why),
    });
  try {
    const lifetimeMs = Math.min(budget + mostWaitMs + (options.sessionMs ?? 0), 0xffff_ffff);
    if (!options.resumed) {
      const { filesBack, fileBack, bytesBack } = profile;
      await conversation.queue(encodeOpen({ lifetimeMs, filesBack, fileBack, bytesBack, ...user }));
    }
    await transfer.send();
    let asked = false;
    for (const [index, step] of steps.entries()) {
      const collect = job.collect && transfer.collectsWithStep && index === steps.length - 1;
      asked ||= collect;
      const result = await executeStep(conversation, index, step, profile, {
        collect,
        keepNetwork: profile.network !== undefined,
        processes: sandbox.processes ?? 0,
        signal: options.signal,
        onOutput: options.onOutput,
        onStarted,
        output: options.output,
      });
      served.steps.push(result);
      options.watch?.step(index, result);
      const { outcome } = result;
      const stop = outcome.kind === 'cancelled' || (step.required && !succeeded(outcome));
      if (stop) break;
    }
    served.executedAt = performance.now();
    options.watch?.executed();
    if (job.collect) served.changes = await transfer.collect(asked, room);
  } catch (error) {
    options.room?.close(); // other runs wait for this room, and the engine may take long to report the end
    if (options.signal?.aborted && error === options.signal.reason) {
      served.ending = { kind: 'cancelled' };
      return;
    }
    if (lost.aborted && error === lost.reason) throw new AttemptLost(messageOf(error), started);
    // Something that the session left behind may be the cause: another attempt uses a fresh sandbox.
    if (options.resumed && !started) throw new AttemptLost(messageOf(error), false);
    if (!(error instanceof ConversationLost)) {
      // After the program has started, it may be the cause of the failure. The number of lost attempts is bounded, so it counts as one.
      if (started && error instanceof KatafleetError && error.fault === 'node') throw new AttemptLost(error.message, true);
      throw error;
    }
    if (!started) throw new AttemptLost(error.message, false);
    served.executedAt ||= performance.now();
    served.ending = await wordOfTheEngine(sandbox, error, lost);
  } finally {
    room?.end();
  }
}

/** Time limit for the engine to report how a container ended (ms). */
const wordMs = 10_000;

/**
 * Exit codes of a container that was killed or stopped from outside. 0: an older supervisor exits with it on a stop or if its stream
 * closes, and a restarted engine reports it for containers that it lost. Undefined: the engine does not know.
 */
const endedFromOutside: readonly unknown[] = [0, 137, 143, undefined];

/**
 * Finds out why the supervisor ended in the middle of a run; the engine knows whether memory ran out. If the engine does not answer, or
 * the container was ended from outside, the run may be tried again. If the supervisor ended by itself, the same could happen on any
 * node.
 * @throws AttemptLost
 */
async function wordOfTheEngine(sandbox: ReadySandbox['sandbox'], lost: ConversationLost, nodeLost: AbortSignal): Promise<Outcome> {
  const end = await within(wordMs, (signal) => sandbox.ended(signal), { signals: [nodeLost] }).catch((error: unknown) => {
    throw new AttemptLost(`${lost.message}; the engine can't say why: ${messageOf(error)}`, true);
  });
  if (end.oomKilled) return { kind: 'out_of_memory' };
  if (end.silent) throw new AttemptLost(lost.message, true, true);
  const reason = `${lost.message}; the container ended with ${end.exitCode ?? 'no exit code'}`;
  if (endedFromOutside.includes(end.exitCode)) throw new AttemptLost(reason, true);
  return { kind: 'lost', reason };
}

const resultOf = (served: Served, image: PreparedImage) => ({ result: summary(served, image), executedAt: served.executedAt });

function summary(served: Served, image: PreparedImage): RunEnd {
  const { steps, changes } = served;
  const last = steps.at(-1);
  const abnormal = steps.find((step) => !outcomeFacts(step.outcome).passes)?.outcome;
  const outcome = served.ending ?? abnormal ?? last?.outcome ?? { kind: 'lost', reason: 'no step ran' };
  const light = image.lights && last ? { light: lightOf(image.lights, outcome, last) } : {};
  return { outcome, steps, changes, ...light };
}
