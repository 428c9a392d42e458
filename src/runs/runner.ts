import { within } from '../core/deadline.ts';
import { messageOf } from '../core/errors.ts';
import { type Changes, noChanges, type Outcome, type RunResult, sandboxUser, type StepResult } from '../core/run.ts';
import type { PreparedImage } from '../drivers/contract.ts';
import type { ReadySandbox } from '../fleet/pool.ts';
import type { Lease } from '../fleet/node.ts';
import { ConversationLost } from '../protocol/conversation.ts';
import { encodeOpen } from '../protocol/requests.ts';
import { executeStep, type OnOutput } from './execute.ts';
import type { Job } from './job.ts';
import { lightOf } from './lights.ts';
import { streamTransfer, type Transfer } from './transfer.ts';

export interface RunOptions {
  /** Ends the run: what was printed before is kept, the outcome is cancelled. */
  signal?: AbortSignal;
  onOutput?: OnOutput;
}

export interface AttemptOptions extends RunOptions {
  /** Whether the sandbox has served its session before. */
  resumed?: boolean;
  /** How long the sandbox may serve beyond this run, ms; 0 if absent. */
  sessionMs?: number;
}

/** Past all its steps' time a sandbox gets this long to receive, collect and say so, ms. */
const graceMs = 60_000;

/** What one attempt came to. */
export type Attempt =
  | { kind: 'done'; result: Pick<RunResult, 'outcome' | 'light' | 'steps' | 'changes'>; executedAt: number }
  /** The sandbox went away through no fault of the run's. `started`: its command had begun. */
  | { kind: 'lost'; reason: string; started: boolean };

interface Served {
  steps: StepResult[];
  changes: Changes;
  executedAt: number;
  /** The last outcome, where it is not that of a step. */
  ending?: Outcome;
}

/** One attempt at a run in a sandbox of its own. @throws for what is no outcome and not the node's fault: a file that does not fit */
export async function attempt(
  lease: Lease,
  job: Job,
  options: AttemptOptions = {},
  transfer = streamTransfer(lease, job),
): Promise<Attempt> {
  try {
    const served = await serve(lease, job, options, transfer);
    return { kind: 'done', result: summary(served, lease.image), executedAt: served.executedAt };
  } catch (error) {
    if (error instanceof AttemptLost) return { kind: 'lost', reason: error.message, started: error.started };
    throw error;
  }
}

class AttemptLost extends Error {
  readonly started: boolean;

  constructor(message: string, started: boolean) {
    super(message);
    this.started = started;
  }
}

async function serve({ sandbox, conversation, lost }: Lease, job: Job, options: AttemptOptions, transfer: Transfer): Promise<Served> {
  const { profile, steps } = job;
  const budget = steps.reduce((sum, step) => sum + (step.limits?.wallMs ?? profile.wallMs), graceMs + transfer.extraMs);
  // The supervisor keeps the deadlines; this is for a node that stops answering.
  const watchdog = setTimeout(() => sandbox.stream.destroy(), budget).unref();
  const served: Served = { steps: [], changes: noChanges(), executedAt: 0 };
  let started = false;
  const onStarted = () => {
    started = true;
  };
  try {
    const lifetimeMs = Math.min(budget + (options.sessionMs ?? 0), 0xffff_ffff);
    if (!options.resumed) {
      const { filesBack, fileBack, bytesBack } = profile;
      await conversation.queue(encodeOpen({ ...(sandbox.user ?? sandboxUser), lifetimeMs, filesBack, fileBack, bytesBack }));
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
      });
      served.steps.push(result);
      const { outcome } = result;
      const stop = outcome.kind === 'cancelled' || (step.required && !(outcome.kind === 'exited' && outcome.code === 0));
      if (stop) break;
    }
    served.executedAt = performance.now();
    if (job.collect) served.changes = await transfer.collect(asked);
  } catch (error) {
    // What a session left behind may be what is in the way: a fresh sandbox will show.
    if (options.resumed && !started) throw new AttemptLost(messageOf(error), false);
    if (!(error instanceof ConversationLost)) throw error;
    if (!started) throw new AttemptLost(error.message, false);
    served.executedAt ||= performance.now();
    served.ending = await wordOfTheEngine(sandbox, error, lost);
  } finally {
    clearTimeout(watchdog);
  }
  return served;
}

/** How long the engine may take to say how a container ended, ms. */
const wordMs = 10_000;

/** Exit codes of a container whose first process was killed from outside, or told to end: nothing inside it can do that. None at all: nobody knows. */
const killedFromOutside: readonly unknown[] = [137, 143, undefined];

/**
 * The supervisor vanished in the middle of a run: the engine knows whether it was for want of memory. Where the engine
 * does not answer, or the container was killed from outside, the node is at fault and the run can be tried elsewhere;
 * where the supervisor ended by itself, the same could happen anywhere. @throws AttemptLost
 */
async function wordOfTheEngine(sandbox: ReadySandbox['sandbox'], lost: ConversationLost, nodeLost: AbortSignal): Promise<Outcome> {
  const end = await within(wordMs, (signal) => sandbox.ended(signal), { signals: [nodeLost] }).catch((error: unknown) => {
    throw new AttemptLost(`${lost.message}; the engine can't say why: ${messageOf(error)}`, true);
  });
  if (end.oomKilled) return { kind: 'out_of_memory' };
  const reason = `${lost.message}; the container ended with ${end.exitCode ?? 'no exit code'}`;
  if (killedFromOutside.includes(end.exitCode)) throw new AttemptLost(reason, true);
  return { kind: 'lost', reason };
}

function summary(served: Served, image: PreparedImage): Pick<RunResult, 'outcome' | 'light' | 'steps' | 'changes'> {
  const { steps, changes } = served;
  const last = steps.at(-1);
  const abnormal = steps.find(({ outcome }) => outcome.kind !== 'exited')?.outcome;
  const outcome = served.ending ?? abnormal ?? last?.outcome ?? { kind: 'lost', reason: 'no step ran' };
  const light = image.lights && last ? { light: lightOf(image.lights, outcome, last) } : {};
  return { outcome, steps, changes, ...light };
}
