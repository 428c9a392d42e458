import { randomUUID } from 'node:crypto';
import { KatafleetError } from '../core/errors.ts';
import { type Profile, profileOf } from '../core/profile.ts';
import { type Changes, noChanges, type Outcome, type RunRequest, type RunResult, sandboxUser, Step, type StepResult } from '../core/run.ts';
import type { PreparedImage } from '../drivers/contract.ts';
import type { Node } from '../fleet/node.ts';
import type { ReadySandbox } from '../fleet/pool.ts';
import { ConversationLost } from '../protocol/conversation.ts';
import { encodeFrame, hostFrame } from '../protocol/frames.ts';
import { encodeOpen } from '../protocol/requests.ts';
import { download } from './download.ts';
import { executeStep, failure, type OnOutput } from './execute.ts';
import { lightOf } from './lights.ts';
import { checkEntries, upload } from './upload.ts';

export interface RunOptions {
  /** Ends the run: what was printed before is kept, the outcome is cancelled. */
  signal?: AbortSignal;
  onOutput?: OnOutput;
}

/** Past all its steps' time a sandbox gets this long to receive, collect and say so, ms. */
const graceMs = 60_000;
/** Tries at a run before its first step was started: an idle sandbox can be dead without our knowing yet. */
const mostAttempts = 3;

interface Served {
  steps: StepResult[];
  changes: Changes;
  executedAt: number;
  /** The last outcome, where it is not that of a step. */
  ending?: Outcome;
}

/** A run whose request has been checked. */
interface Job {
  request: RunRequest;
  steps: Step[];
  profile: Profile;
  collect: boolean;
}

/** Runs a request on a node. @throws for what is no outcome: a bad request, an unknown image, a node that fails */
export async function run(node: Node, request: RunRequest, options: RunOptions = {}): Promise<RunResult> {
  const begun = performance.now();
  const job = check(request);
  const image = await node.image(request.image);
  const pool = await node.pool(image, job.profile);
  for (let attempt = 1; ; attempt += 1) {
    const ready = await pool.acquire(options.signal);
    const acquired = performance.now();
    try {
      const served = await serve(ready, job, options);
      const total = performance.now();
      const timings = {
        acquireMs: acquired - begun,
        executeMs: served.executedAt - acquired,
        collectMs: total - served.executedAt,
        totalMs: total - begun,
      };
      return { id: randomUUID(), image: request.image, node: ready.sandbox.node, warm: ready.warm, ...summary(served, image), timings };
    } catch (error) {
      if (!(error instanceof NotStarted)) throw error;
      if (attempt >= mostAttempts || !ready.warm) throw error.cause;
    } finally {
      void pool.release(ready).catch(() => undefined); // the reaper sees to what the engine wouldn't remove
    }
  }
}

function check(request: RunRequest): Job {
  const parsed = Step.array().min(1).max(10_000).safeParse(request.steps);
  if (!parsed.success) {
    const faults = parsed.error.issues.map((issue) => `${issue.path.join('.') || 'steps'}: ${issue.message}`);
    throw new KatafleetError('request.invalid', `steps: ${faults.join('; ')}`);
  }
  checkEntries(request.files, request.folders ?? []);
  return { request, steps: parsed.data, profile: profileOf(request.profile), collect: request.collect ?? true };
}

/** The sandbox was lost before it had said that a step was started: another can be tried, for nothing outside it can have changed. */
class NotStarted extends Error {}

async function serve({ sandbox, conversation }: ReadySandbox, job: Job, options: RunOptions): Promise<Served> {
  const { profile, steps } = job;
  const budget = steps.reduce((sum, step) => sum + (step.limits?.wallMs ?? profile.wallMs), graceMs);
  // The supervisor keeps the deadlines; this is for a node that stops answering.
  const watchdog = setTimeout(() => sandbox.stream.destroy(), budget);
  const served: Served = { steps: [], changes: noChanges(), executedAt: 0 };
  let started = false;
  const onStarted = () => {
    started = true;
  };
  try {
    const lifetimeMs = Math.min(budget, 0xffff_ffff);
    await conversation.queue(
      encodeOpen({ ...sandboxUser, lifetimeMs, filesBack: profile.filesBack, fileBack: profile.fileBack, bytesBack: profile.bytesBack }),
    );
    await upload(conversation, job.request.files, job.request.folders ?? []).catch(async (error: unknown) => {
      throw error instanceof ConversationLost ? await lastWords(conversation, error) : error;
    });
    for (const [index, step] of steps.entries()) {
      const collect = job.collect && index === steps.length - 1;
      const result = await executeStep(conversation, index, step, profile, {
        collect,
        signal: options.signal,
        onOutput: options.onOutput,
        onStarted,
      });
      served.steps.push(result);
      const { outcome } = result;
      const stop = outcome.kind === 'cancelled' || (step.required && !(outcome.kind === 'exited' && outcome.code === 0));
      if (!stop) continue;
      if (job.collect && !collect) await conversation.send(encodeFrame(hostFrame.collect));
      break;
    }
    served.executedAt = performance.now();
    if (job.collect) served.changes = await download(conversation, profile);
  } catch (error) {
    if (!(error instanceof ConversationLost)) throw error;
    if (!started) throw new NotStarted('', { cause: error });
    served.executedAt ||= performance.now();
    served.ending = await wordOfTheEngine(sandbox, error);
  } finally {
    clearTimeout(watchdog);
  }
  return served;
}

/** A stream that broke while we wrote: the supervisor may have said why. */
async function lastWords(conversation: ReadySandbox['conversation'], lost: ConversationLost): Promise<Error> {
  try {
    for (;;) {
      const reply = await conversation.next();
      if (reply.kind === 'fail') return failure(reply);
    }
  } catch {
    return lost;
  }
}

/** The supervisor vanished in the middle of a run: the engine knows whether it was for want of memory. */
async function wordOfTheEngine(sandbox: ReadySandbox['sandbox'], lost: ConversationLost): Promise<Outcome> {
  try {
    const end = await sandbox.ended(AbortSignal.timeout(10_000));
    if (end.oomKilled) return { kind: 'out_of_memory' };
    return { kind: 'lost', reason: `${lost.message}; the container ended with ${end.exitCode ?? 'no exit code'}` };
  } catch {
    return { kind: 'lost', reason: `${lost.message}; the engine does not answer for it` };
  }
}

function summary(served: Served, image: PreparedImage): Pick<RunResult, 'outcome' | 'light' | 'steps' | 'changes'> {
  const { steps, changes } = served;
  const last = steps.at(-1);
  const abnormal = steps.find(({ outcome }) => outcome.kind !== 'exited')?.outcome;
  const outcome = served.ending ?? abnormal ?? last?.outcome ?? { kind: 'lost', reason: 'no step ran' };
  const light = image.lights && last ? { light: lightOf(image.lights, outcome, last) } : {};
  return { outcome, steps, changes, ...light };
}
