import type { ByteBudget } from '../../base/byte-budget.ts';
import type { Clock } from '../../base/clock.ts';
import { abortable } from '../../base/deadline.ts';
import type { RunResult } from '../../model/result.ts';
import type { Fleet } from '../../fleet/fleet.ts';
import type { Lease } from '../../fleet/node/sandboxes.ts';
import { type Attempt, attempt, budgetOf } from '../attempt/runner.ts';
import { timingsOf } from '../attempt/timings.ts';
import type { Transfers } from '../attempt/transfer.ts';
import type { OutputBudget } from '../room/output-budget.ts';
import { SandboxState } from '../sessions/sandbox-state.ts';
import { mayServeAgain, type Sessions, type SessionSandbox } from '../sessions/sessions.ts';
import type { AttemptAt, LifeEvent } from './life.ts';
import type { AttemptControl, LiveRun } from './live-run.ts';
import type { AttemptFault } from './losses.ts';
import { asError } from './machine.ts';

export interface AttemptsOptions {
  fleet: Fleet;
  sessions: Sessions;
  transfers: Transfers;
  clock: Clock;
  /** Memory that an idle sandbox books, bytes. */
  idleMemory: number;
  results: ByteBudget | undefined;
  output: OutputBudget | undefined;
  /** Called when the memory of a sandbox may be free, or its session's sandbox may take a run. */
  onEnd: () => void;
}

/** Makes the attempts of runs: from a booked place on a node to a result or a fault. */
export class Attempts {
  readonly #options: AttemptsOptions;
  readonly #running = new Set<symbol>();
  readonly #onIdle: (() => void)[] = [];

  constructor(options: AttemptsOptions) {
    this.#options = options;
  }

  /** How many are under way, also those that only give back what they hold. */
  get size(): number {
    return this.#running.size;
  }

  /** Resolves when none is under way. */
  async idle(): Promise<void> {
    if (this.#running.size > 0) await new Promise<void>((resolve) => this.#onIdle.push(resolve));
  }

  /** Makes an attempt. Tells the run how it goes on, and never rejects. */
  async make(run: LiveRun, where: AttemptAt, tell: (event: LifeEvent) => void): Promise<void> {
    const { fleet, onEnd } = this.#options;
    const mark = Symbol();
    this.#running.add(mark);
    const stay = { memory: run.job.limits.memory, endsBy: this.#options.clock.now() + run.job.longestMs };
    fleet.cluster.started(where.node, stay);
    const abort = new AbortController();
    try {
      await this.#make(run, where, abort, tell);
    } catch (error) {
      if (!abort.signal.aborted || isServing(run, where)) {
        const fault = await this.#faultOf(error, run, where);
        tell({ type: 'failed', attempt: where.attempt, at: this.#options.clock.now(), fault });
      }
    } finally {
      this.#running.delete(mark);
      fleet.cluster.ended(where.node, stay);
      if (this.#running.size === 0) for (const resolve of this.#onIdle.splice(0)) resolve();
      onEnd();
    }
  }

  async #make(run: LiveRun, where: AttemptAt, abort: AbortController, tell: (event: LifeEvent) => void): Promise<void> {
    const { transfers, clock, sessions, results, output } = this.#options;
    const { job } = run;
    const { attempt: number, node, resumed } = where;
    const { signal } = abort;
    const reused = resumed ? run.reused : undefined;
    run.reused = undefined;
    const control: AttemptControl = { abort, break: () => undefined };
    run.attempt = control;
    const begun = clock.now();
    const lease = reused?.lease ?? (await this.#lease(run, where, signal, tell));
    control.break = () => lease.sandbox.stream.destroy();
    const acquired = clock.now();
    const warmth = { warm: resumed || lease.warm, resumed };
    const state = reused?.state ?? (job.request.session === undefined ? undefined : new SandboxState());
    const transfer = transfers.of(lease, job, { signal, state });
    const extended = (ms: number) => tell({ type: 'extended', attempt: number, at: clock.now(), ms });
    tell({ type: 'acquired', attempt: number, at: acquired, ms: budgetOf(job, transfer) });
    run.log.add({ type: 'attempt', node, ...warmth });
    const resultOf = ({ result, executedAt }: Attempt): RunResult => {
      const at = { submitted: run.submitted, begun, acquired, executed: executedAt, collected: clock.now() };
      return { id: run.id, image: job.request.image, node, attempt: number, ...warmth, ...result, timings: timingsOf(at) };
    };
    const room = results?.open();
    const kept = output?.open();
    const close = () => {
      room?.close();
      kept?.close();
    };
    let again: SessionSandbox | undefined;
    let tried: Attempt | undefined;
    try {
      tried = await attempt(
        lease,
        job,
        {
          signal,
          onOutput: (step, stream, bytes) => run.log.output(step, stream, bytes),
          resumed,
          sessionMs: state ? sessions.ageMs : 0,
          room,
          output: kept,
          watch: {
            extended,
            step: (step, { stdout: _stdout, stderr: _stderr, stdoutTail: _out, stderrTail: _err, ...facts }) =>
              run.log.add({ type: 'step', step, ...facts }),
            executed: () => tell({ type: 'executed', attempt: number }),
          },
        },
        transfer,
      );
      if (tried.kind === 'done') {
        const result = resultOf(tried);
        if (state && !tried.ended && mayServeAgain(job, result)) again = { lease, node, state, born: reused?.born ?? begun };
        hold(run, close); // its bytes are in memory until they are stored
        tell({ type: 'done', attempt: number, result });
      }
    } finally {
      if (tried?.kind !== 'done') close();
      if (again) sessions.keep(job, again);
      else void lease.release().catch(() => undefined); // the reaper removes it later
    }
    if (tried.kind === 'done') return;
    const { reason, started, silent } = tried;
    const nodeLost = silent || lease.lost.aborted;
    const answers = !nodeLost && (started || !resumed) && (await this.#options.fleet.node(node).answers());
    const result = resultOf(tried);
    const fault: AttemptFault = { kind: 'sandbox', reason, started, nodeLost, answers, resumed, warm: lease.warm, result };
    tell({ type: 'failed', attempt: number, at: clock.now(), fault });
  }

  /** Gets the sandbox. A wait that is broken off ends at once; what comes too late is given back. */
  async #lease(run: LiveRun, where: AttemptAt, signal: AbortSignal, tell: (event: LifeEvent) => void): Promise<Lease> {
    const { fleet, idleMemory, clock } = this.#options;
    const { job } = run;
    const { attempt: number, node, warm } = where;
    const { memory } = job.limits;
    const granted = warm ? memory - idleMemory : memory;
    const brought = () => tell({ type: 'brought', attempt: number, at: clock.now() });
    const leasing = fleet.lease(node, job.image, job.limits, granted, signal, { ...job.placing, priority: run.level }, brought);
    try {
      const lease = await abortable(signal, leasing);
      signal.throwIfAborted();
      return lease;
    } catch (error) {
      // The run has gone on, but katafleet must not end while a sandbox is being made.
      if (signal.aborted) await leasing.then(giveBack, () => undefined);
      throw error;
    }
  }

  /** Finds out what an error of an attempt says about its node. Never rejects. */
  async #faultOf(cause: unknown, { job }: LiveRun, { node: name, resumed }: AttemptAt): Promise<AttemptFault> {
    const error = asError(cause);
    const fault = { kind: 'error' as const, error, resumed };
    const node = this.#options.fleet.node(name);
    if (error.code === 'image.unknown') {
      const had = node.sandboxes.imageId(job.image) !== undefined;
      await node.refreshImages();
      return { ...fault, answers: true, image: { had, has: node.sandboxes.imageId(job.image) !== undefined } };
    }
    const asks = error.fault === 'node' && !resumed && error.code !== 'node.full' && error.code !== 'node.lost';
    return { ...fault, answers: asks && (await node.answers()) };
  }
}

/** Whether the run still waits for the end of this attempt's program. */
const isServing = ({ life }: LiveRun, { attempt: number }: AttemptAt): boolean =>
  (life.phase === 'executing' || life.phase === 'collecting') && life.attempt === number;

/** Keeps something until the run's end is told. */
function hold(run: LiveRun, close: () => void): void {
  if (run.life.phase === 'ended' && run.life.told) close();
  else run.held.push(close);
}

const giveBack = (lease: Lease) => void lease.release().catch(() => undefined);
