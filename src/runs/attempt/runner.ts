import type { Room } from '../../base/byte-budget.ts';
import { within } from '../../base/deadline.ts';
import { KatafleetError, messageOf } from '../../model/errors.ts';
import { type Outcome, outcomeFacts } from '../../model/outcome.ts';
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
  /** How long the sandbox may serve beyond this run, ms; 0 if absent. */
  sessionMs?: number;
  /** Where what comes back is counted. It is closed as soon as the attempt fails; else by the caller, when the result is written down. */
  room?: Room | undefined;
  /** Where its output is counted; there is room for all if absent. */
  output?: OutputRoom | undefined;
}

/** A timer of Node's that is asked for longer fires at once. */
const longestTimerMs = 2 ** 31 - 1;
/** Past all its steps' time a sandbox gets this long to receive, collect and say so, ms. */
const graceMs = 60_000;

/** What one attempt came to. */
export type Attempt =
  /** `ended`: its sandbox has ended with it, and no session has a use for it. */
  | { kind: 'done'; result: RunEnd; executedAt: number; ended: boolean }
  /** The sandbox went away, and nothing shows that the run is to blame. `started`: its command had begun. `result`: what came of it until then. */
  | { kind: 'lost'; reason: string; started: boolean; silent: boolean; result: RunEnd; executedAt: number };

/** What the sandbox has to say of a run. */
type RunEnd = Pick<RunResult, 'outcome' | 'light' | 'steps' | 'changes'>;

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

/** Fills in what comes of the run as it comes. @throws AttemptLost */
async function serve(
  { sandbox, conversation, lost, user }: Lease,
  job: Job,
  options: AttemptOptions,
  transfer: Transfer,
  served: Served,
): Promise<void> {
  const { profile, steps } = job;
  const budget = steps.reduce((sum, step) => sum + (step.limits?.wallMs ?? profile.wallMs), graceMs + transfer.extraMs);
  // The supervisor keeps the deadlines; this is for a node that stops answering.
  const watch = () => setTimeout(() => sandbox.stream.destroy(), Math.min(budget, longestTimerMs)).unref();
  let watchdog = watch();
  let started = false;
  const onStarted = () => {
    started = true;
  };
  const late = () => new AttemptLost('for too long there was no room for what it changed', false);
  const room =
    options.room &&
    new PacedRoom(options.room, {
      wait: async (ms, granted) => {
        clearTimeout(watchdog); // others are waited for, not this node
        try {
          await within(ms, () => granted, { signals: [options.signal, lost], late });
        } finally {
          watchdog = watch();
        }
      },
      tooSlow: (why) => sandbox.stream.destroy(why),
    });
  try {
    const lifetimeMs = Math.min(budget + mostWaitMs + (options.sessionMs ?? 0), 0xffff_ffff);
    if (!options.resumed) {
      const { filesBack, fileBack, bytesBack } = profile;
      await conversation.queue(encodeOpen({ ...user, lifetimeMs, filesBack, fileBack, bytesBack }));
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
      const { outcome } = result;
      const stop = outcome.kind === 'cancelled' || (step.required && !(outcome.kind === 'exited' && outcome.code === 0));
      if (stop) break;
    }
    served.executedAt = performance.now();
    if (job.collect) served.changes = await transfer.collect(asked, room);
  } catch (error) {
    options.room?.close(); // others wait for it, and the engine may take its time to say what happened
    if (options.signal?.aborted && error === options.signal.reason) {
      served.ending = { kind: 'cancelled' };
      return;
    }
    if (lost.aborted && error === lost.reason) throw new AttemptLost(messageOf(error), started);
    // What a session left behind may be what is in the way: a fresh sandbox will show.
    if (options.resumed && !started) throw new AttemptLost(messageOf(error), false);
    if (!(error instanceof ConversationLost)) {
      // What breaks once the program runs may be the program's doing: it is bounded as a loss is.
      if (started && error instanceof KatafleetError && error.fault === 'node') throw new AttemptLost(error.message, true);
      throw error;
    }
    if (!started) throw new AttemptLost(error.message, false);
    served.executedAt ||= performance.now();
    served.ending = await wordOfTheEngine(sandbox, error, lost);
  } finally {
    clearTimeout(watchdog);
    room?.end();
  }
}

/** How long the engine may take to say how a container ended, ms. */
const wordMs = 10_000;

/**
 * Exit codes of a container that was killed from outside, or told to end. 0: an older supervisor gives it when it is told to
 * end or its stream is gone, and an engine that was started again shows it for what it lost. None at all: nobody knows.
 */
const endedFromOutside: readonly unknown[] = [0, 137, 143, undefined];

/**
 * The supervisor vanished in the middle of a run: the engine knows whether it was for want of memory. Where the engine
 * does not answer, or the container was ended from outside, the run can be tried again; where the supervisor ended by itself,
 * the same could happen anywhere. @throws AttemptLost
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
