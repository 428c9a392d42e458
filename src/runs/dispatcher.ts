import type { ByteBudget } from '../base/byte-budget.ts';
import { randomUUID } from 'node:crypto';
import { KatafleetError, messageOf } from '../model/errors.ts';
import { notCounted } from '../model/record.ts';
import type { RunResult } from '../model/result.ts';
import type { Fleet } from '../fleet/fleet.ts';
import type { Lease } from '../fleet/node/sandboxes.ts';
import type { Policy } from '../scheduler/place/placement.ts';
import type { QueueEntry } from '../scheduler/queue/entry.ts';
import { FairQueue, type QueueLimits } from '../scheduler/queue/queue.ts';
import { Scheduler } from '../scheduler/scheduler.ts';
import { type Job, wantedOf } from './job.ts';
import { type Loss, noSandbox, sandboxLost, wordsOf } from './losses.ts';
import type { OutputBudget } from './room/output-budget.ts';
import { rejection, tooLate } from './rejection.ts';
import { transfersWith } from './attempt/rsync-transfer.ts';
import { type Attempt, attempt } from './attempt/runner.ts';
import { SandboxState } from './sessions/sandbox-state.ts';
import { type SessionSandbox, mayServeAgain, type SessionLimits, Sessions } from './sessions/sessions.ts';
import { cancelled, entryOf, type Recorder, stopping, type SubmitOptions, type Ticket, unwritten } from './ticket.ts';
import type { Transfers } from './attempt/transfer.ts';

export interface DispatcherOptions {
  limits: QueueLimits;
  policy: Policy;
  /** Tries at a run whose node was lost after its command had begun, or on whose nodes no sandbox could be made. */
  attempts: number;
  /** Bytes that an idle sandbox books. */
  idleMemory: number;
  /** Whether runs wait for nodes that are down; else they are refused when no node is up. */
  patient: boolean;
  /** What is kept for sessions; nothing if absent. */
  sessions?: SessionLimits;
  recorder?: Recorder | undefined;
  /** How files travel; on the conversation alone if absent. */
  transfers?: Transfers;
  /** What the results on their way from sandboxes may take; unbounded if absent. */
  results?: ByteBudget;
  /** What the output of running steps may take; unbounded if absent. */
  output?: OutputBudget;
  random?: () => number;
}

const noSessions: SessionLimits = { most: 0, perTenant: 0, idleMs: 0, ageMs: 0, memory: 0 };
/** How often deadlines in the queue are looked at, ms. */
const tickMs = 100;

/** From a checked run to its one result: queue, placement, attempts. */
export class Dispatcher {
  readonly #fleet: Fleet;
  readonly #options: DispatcherOptions;
  readonly #scheduler: Scheduler<Ticket>;
  readonly #transfers: Transfers;
  readonly #running = new Map<string, Ticket>();
  readonly #sessions: Sessions;
  #pumping = false;
  #again = false;
  #stopping = false;
  readonly #onIdle: (() => void)[] = [];
  #tick: NodeJS.Timeout | undefined;

  constructor(fleet: Fleet, options: DispatcherOptions) {
    this.#fleet = fleet;
    this.#options = options;
    this.#transfers = options.transfers ?? transfersWith(undefined);
    const wanted = ({ job, avoid }: Ticket) => wantedOf(job, options.idleMemory, avoid);
    const { policy, random = Math.random } = options;
    this.#scheduler = new Scheduler(new FairQueue<Ticket>(options.limits), fleet.cluster, wanted, { policy, random });
    fleet.onRoom(() => this.#pump());
    this.#sessions = new Sessions({
      limits: options.sessions ?? noSessions,
      node: (name) => {
        const books = fleet.cluster.node(name);
        return { usable: books?.health === 'ready' && books.cordoned === 'no', memory: books?.memory ?? 0 };
      },
    });
  }

  get #queue(): FairQueue<Ticket> {
    return this.#scheduler.queue;
  }

  get waiting(): number {
    return this.#queue.size;
  }

  get running(): number {
    return this.#running.size;
  }

  /** Tries at a run. */
  get attempts(): number {
    return this.#options.attempts;
  }

  /** Nothing new is taken or begun from here on; what waits is refused with service.stopping. */
  stop(): void {
    if (this.#stopping) return;
    this.#stopping = true;
    clearInterval(this.#tick);
    for (const { value } of this.#queue.expired(Infinity)) this.#fail(value, stopping());
  }

  /** Ends what is kept for sessions. Resolves when it is gone. */
  async close(): Promise<void> {
    this.stop();
    await this.#sessions.close();
  }

  /** Resolves when no run is under way. */
  async idle(): Promise<void> {
    if (this.#running.size > 0) await new Promise<void>((resolve) => this.#onIdle.push(resolve));
  }

  /** How far from the front of the queue, 1 for the next; undefined when it does not wait. */
  position(id: string): number | undefined {
    return this.#queue.position(id);
  }

  /**
   * One run. A program that fails, hangs or eats all memory is an outcome.
   * @throws placement.impossible, image.unknown, limits.invalid at once when no node can ever take it; queue.full; queue.deadline;
   *   run.cancelled before it began; engine.* when its attempts are used up
   */
  async submit(job: Job, options: SubmitOptions = {}): Promise<RunResult> {
    await this.prepare(job);
    if (options.signal?.aborted) throw cancelled();
    return this.enqueue(job, options);
  }

  /** The part of {@link submit} that may ask nodes. @throws what it throws for a run that no node can ever take */
  async prepare(job: Job): Promise<void> {
    if (this.#stopping) throw stopping();
    await this.#transfers.check(job);
    // Images that were made a moment ago are not in the books yet.
    await this.#fleet.findImage(job.image);
    const wanted = wantedOf(job, this.#options.idleMemory);
    const { kind } = this.#scheduler.decide(wanted);
    if (kind === 'reject') throw rejection(job, wanted, this.#fleet);
    const hopeless = kind === 'wait' ? this.#hopeless(job) : undefined;
    if (hopeless) throw hopeless;
  }

  /** The part that asks nobody: the run is in the queue, or its refusal thrown, when this returns. @throws queue.full, service.stopping */
  enqueue(job: Job, options: SubmitOptions = {}): Promise<RunResult> {
    if (this.#stopping) throw stopping();
    const { signal } = options;
    let settle: Ticket['settle'] = () => undefined;
    const result = new Promise<RunResult>((resolve, reject) => {
      settle = (end) => {
        signal?.removeEventListener('abort', cancel);
        if ('result' in end) resolve(end.result);
        else reject(end.error);
      };
    });
    const ticket: Ticket = {
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
    };
    const cancel = () => {
      if (this.#queue.remove(ticket.id)) this.#fail(ticket, cancelled());
    };
    const entry = entryOf(ticket);
    const kept = this.#sessions.take(job); // its memory is booked already: it waits for nobody
    if (!kept) this.#admit(entry);
    try {
      options.onAdmitted?.();
    } catch (error) {
      if (kept) this.#sessions.keep(job, kept);
      else this.#queue.remove(ticket.id);
      throw error;
    }
    signal?.addEventListener('abort', cancel, { once: true });
    if (kept) void this.#attempt(entry, kept.node, { kept });
    else this.#pump();
    return result;
  }

  /** Why waiting would be in vain, where runs don't wait for nodes that are down. */
  #hopeless(job: Job): KatafleetError | undefined {
    if (this.#options.patient || this.#fleet.mayBecomeReady) return undefined;
    return this.#fleet.trouble ?? new KatafleetError('engine.unreachable', `no node is up to run ${job.request.image}`);
  }

  #admit(entry: QueueEntry<Ticket>): void {
    const { job, options } = entry.value;
    this.#tick ??= setInterval(() => this.#expire(), tickMs).unref();
    if (options.recovered) {
      this.#queue.restore(entry);
      return;
    }
    const answer = this.#queue.admit(entry);
    if (answer.admitted) return;
    const what = {
      runs: 'as many runs wait as may',
      bytes: 'the runs that wait hold as many bytes as they may',
      tenant: `${job.placing.tenant} has as many runs waiting as it may`,
    };
    throw new KatafleetError('queue.full', what[answer.why], { hint: 'come back later', retryAfterMs: answer.retryAfterMs });
  }

  #expire(): void {
    const now = Date.now();
    for (const { value } of this.#queue.expired(now)) {
      const { job, avoid, why } = value;
      this.#fail(value, tooLate(job, wantedOf(job, this.#options.idleMemory, avoid), this.#fleet, why));
    }
    this.#pump(); // patience and aging pass with time
    if (this.#queue.size === 0) {
      clearInterval(this.#tick);
      this.#tick = undefined;
    }
  }

  /** Places what can be placed. Called from within itself, it takes one more turn. */
  #pump(): void {
    this.#again = true;
    if (this.#pumping) return;
    this.#pumping = true;
    try {
      while (this.#again && !this.#stopping && (this.#options.recorder?.takes?.() ?? true)) {
        this.#again = false;
        for (let next = this.#next(); next; next = this.#next()) {
          const { entry, decision } = next;
          const { job, avoid } = entry.value;
          if (decision.kind === 'place') void this.#attempt(entry, decision.node, decision);
          else this.#fail(entry.value, rejection(job, wantedOf(job, this.#options.idleMemory, avoid), this.#fleet));
        }
      }
    } finally {
      this.#pumping = false;
    }
    this.#makeRoom();
  }

  /** What waits for want of memory alone goes before sandboxes that are kept for somebody who may come back: one at a time. */
  #makeRoom(): void {
    if (this.#sessions.size === 0 || this.#sessions.leaving) return;
    for (const wanted of this.#scheduler.waiting()) {
      if (this.#sessions.makeRoom((node) => this.#scheduler.lacksOnlyMemory(node, wanted))) return;
    }
  }

  #next(): ReturnType<Scheduler<Ticket>['next']> {
    const now = Date.now();
    if (!this.#options.patient && this.#queue.size > 0 && !this.#fleet.mayBecomeReady) {
      for (const { value } of this.#queue.expired(Infinity)) this.#fail(value, this.#hopeless(value.job));
    }
    return this.#scheduler.next(now);
  }

  /** One attempt: where the scheduler has booked memory for it, or in the sandbox that its session kept. */
  async #attempt(entry: QueueEntry<Ticket>, node: string, { warm, kept }: { warm?: boolean; kept?: SessionSandbox }): Promise<void> {
    const ticket = entry.value;
    const { id, job, options } = ticket;
    const { recorder } = this.#options;
    const number = (ticket.attempts += 1);
    const resumed = kept !== undefined;
    const state = kept?.state ?? (job.request.session === undefined ? undefined : new SandboxState());
    this.#running.set(id, ticket);
    this.#fleet.cluster.started(node);
    try {
      const begun = performance.now();
      // The journal writes while the node is asked.
      const lease = await alongside(kept ? Promise.resolve(kept.lease) : this.#lease(ticket, node, warm ?? false), () => {
        recorder?.begin(id, number, { node, ...(warm === undefined ? {} : { warm }), resumed }, Date.now());
        options.onAttempt?.(number, node);
      });
      const acquired = performance.now();
      const resultOf = ({ result, executedAt }: Attempt): RunResult => {
        const total = performance.now();
        const timings = {
          queueMs: begun - ticket.submitted,
          acquireMs: acquired - begun,
          executeMs: executedAt - acquired,
          collectMs: total - executedAt,
          totalMs: total - ticket.submitted,
        };
        return { id, image: job.request.image, node, attempt: number, warm: resumed || lease.warm, resumed, ...result, timings };
      };
      const finish = (result: RunResult) => {
        recorder?.finish(id, number, result, Date.now());
        ticket.settle({ result });
      };
      const room = this.#options.results?.open();
      const output = this.#options.output?.open();
      let again: SessionSandbox | undefined;
      let lost: Extract<Attempt, { kind: 'lost' }> | undefined;
      try {
        const transfer = this.#transfers.of(lease, job, { signal: options.signal, state });
        const tried = await attempt(
          lease,
          job,
          { ...options, resumed, sessionMs: state ? this.#sessions.ageMs : 0, room, output },
          transfer,
        );
        if (tried.kind === 'lost') lost = tried;
        else {
          const result = resultOf(tried);
          finish(result);
          if (state && !tried.ended && mayServeAgain(job, result)) again = { lease, node, state, born: kept?.born ?? begun };
        }
      } finally {
        room?.close();
        output?.close();
        if (again) this.#sessions.keep(job, again);
        else void lease.release().catch(() => undefined); // the reaper sees to what the engine wouldn't remove
      }
      if (!lost) return;
      const how = { ...lost, given: lost.silent || lease.lost.aborted, resumed, warm: lease.warm };
      const loss = await sandboxLost(ticket, this.#fleet.node(node), how, this.#options.attempts);
      if (loss.own && !options.signal?.aborted) finish(resultOf(lost));
      else this.#lost(entry, number, node, loss);
    } catch (error) {
      await this.#failed(entry, number, node, { error, resumed });
    } finally {
      this.#running.delete(id);
      this.#fleet.cluster.ended(node);
      if (this.#running.size === 0) for (const resolve of this.#onIdle.splice(0)) resolve();
      this.#pump();
    }
  }

  #lease({ job, options }: Ticket, node: string, warm: boolean): Promise<Lease> {
    const { memory } = job.limits;
    const granted = warm ? memory - this.#options.idleMemory : memory;
    return this.#fleet.lease(node, job.image, job.limits, granted, options.signal, job.placing);
  }

  /** An attempt that ended in an error: what is about the node is tried again, all else is the end. Never throws. */
  async #failed(
    entry: QueueEntry<Ticket>,
    number: number,
    node: string,
    { error, resumed }: { error: unknown; resumed: boolean },
  ): Promise<void> {
    const ticket = entry.value;
    try {
      if (ticket.options.signal?.aborted) {
        this.#fail(ticket, cancelled(error), number);
        return;
      }
      const loss = await noSandbox(ticket, this.#fleet.node(node), error);
      if (!loss) {
        this.#fail(ticket, error, number);
        return;
      }
      if (loss.error.code === 'node.full' && loss.avoid) this.#sessions.makeRoom((kept) => kept === node);
      this.#lost(entry, number, node, { ...loss, counts: loss.counts && !resumed });
    } catch (cause) {
      ticket.settle({ error: unwritten(cause, asError(error)) });
    }
  }

  /** Its place in the queue after an attempt. After one that began it may wait as long again; those that came to nothing have that time together. */
  #requeued(entry: QueueEntry<Ticket>, { pauseMs, error }: Loss): QueueEntry<Ticket> {
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

  #lost(entry: QueueEntry<Ticket>, number: number, node: string, loss: Loss): void {
    const ticket = entry.value;
    const { recorder } = this.#options;
    const { error } = loss;
    if (!loss.counts) ticket.uncounted += 1;
    if (loss.avoid) ticket.avoid.add(node);
    ticket.why = wordsOf(node, loss);
    if (ticket.options.signal?.aborted) {
      this.#fail(
        ticket,
        new KatafleetError('run.cancelled', `the run was cancelled; its sandbox on ${node} was lost`, { cause: error }),
        number,
      );
    } else if (this.#stopping) {
      this.#fail(ticket, stopping(), number);
    } else if (loss.counts && ticket.attempts - ticket.uncounted >= this.#options.attempts) {
      this.#fail(ticket, error, number);
    } else if (
      error.code === 'journal.full' ||
      (recorder?.lost(ticket.id, number, `${loss.counts ? '' : notCounted}${messageOf(error)}`, Date.now()) ?? true)
    ) {
      this.#queue.requeue(this.#requeued(entry, loss));
      this.#tick ??= setInterval(() => this.#expire(), tickMs).unref();
      // Whoever gave the attempt up places it anew, once it has left the books of what runs.
    } else {
      this.#fail(ticket, error, number); // the journal says that it is over, or another's
    }
  }

  #fail(ticket: Ticket, error: unknown, number?: number): void {
    const known = asError(error);
    this.#scheduler.forget(ticket.id);
    try {
      this.#options.recorder?.fail(ticket.id, number, known, Date.now());
    } catch (cause) {
      // It is not over in the journal, and will be taken up again at the next start.
      ticket.settle({ error: unwritten(cause, known) });
      return;
    }
    ticket.settle({ error: known });
  }
}

const asError = (error: unknown) =>
  error instanceof KatafleetError ? error : new KatafleetError('internal', messageOf(error), { cause: error });

/** A lease and what is done while it is waited for; where that throws, the lease is given back. */
async function alongside(leasing: Promise<Lease>, body: () => void): Promise<Lease> {
  try {
    body();
  } catch (error) {
    // The first error is the one to tell; and nobody ends while a sandbox is being made.
    await leasing.then(
      (lease) => void lease.release().catch(() => undefined),
      () => undefined,
    );
    throw error;
  }
  return leasing;
}
