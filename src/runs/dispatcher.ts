import { KatafleetError, messageOf } from '../model/errors.ts';
import { notCounted } from '../model/record.ts';
import type { RunResult } from '../model/result.ts';
import type { Fleet } from '../fleet/fleet.ts';
import type { Lease } from '../fleet/node/sandboxes.ts';
import type { QueueEntry } from '../scheduler/queue/entry.ts';
import { FairQueue } from '../scheduler/queue/queue.ts';
import { Scheduler } from '../scheduler/scheduler.ts';
import { leaseWhile } from './attempt/lease-while.ts';
import { transfersWith } from './attempt/rsync-transfer.ts';
import { type Attempt, attempt } from './attempt/runner.ts';
import { timingsOf } from './attempt/timings.ts';
import type { Transfers } from './attempt/transfer.ts';
import type { DispatcherOptions } from './dispatcher-options.ts';
import { type Job, wantedOf } from './job.ts';
import { type Loss, noSandbox, sandboxLost, wordsOf } from './losses.ts';
import { queueFull, rejection, tooLate } from './rejection.ts';
import { SandboxState } from './sessions/sandbox-state.ts';
import { mayServeAgain, type SessionLimits, Sessions, type SessionSandbox } from './sessions/sessions.ts';
import { asError, cancelled, entryOf, newTicket, requeued, stopping, type SubmitOptions, type Ticket, unwritten } from './ticket.ts';

const noSessions: SessionLimits = { most: 0, perTenant: 0, idleMs: 0, ageMs: 0, memory: 0 };
/** How often the dispatcher checks deadlines in the queue, ms. */
const tickMs = 100;
/** How many runs whose time is over end in one turn of the event loop, about how many nodes are asked why, and how long it takes, ms. */
const mostExpiries = 50;
const expiryMs = 5;
const mostAsked = 2_000;

/** Queues a checked run, places it, makes attempts, and returns its one result. */
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
  #expiring: NodeJS.Immediate | undefined;

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
      onKept: (node, bytes) => fleet.cluster.setKept(node, bytes),
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

  /** The most attempts at one run; those that do not count are not among them. */
  get attempts(): number {
    return this.#options.attempts;
  }

  /** Accepts and starts no more runs. Runs in the queue fail with service.stopping. */
  stop(): void {
    if (this.#stopping) return;
    this.#stopping = true;
    clearInterval(this.#tick);
    for (const { value } of this.#queue.expired(Infinity)) this.#fail(value, stopping());
  }

  /** Stops, and ends the sandboxes of sessions. Resolves when they are removed. */
  async close(): Promise<void> {
    this.stop();
    await this.#sessions.close();
  }

  /** Resolves when no run is running. */
  async idle(): Promise<void> {
    if (this.#running.size > 0) await new Promise<void>((resolve) => this.#onIdle.push(resolve));
  }

  /** Returns a run's position in the queue, 1 for the next; undefined if it is not in the queue. */
  position(id: string): number | undefined {
    return this.#queue.position(id);
  }

  /**
   * Runs a job. A program that fails, times out or runs out of memory is an outcome, not an error.
   * @throws placement.impossible, image.unknown, limits.invalid at once if no node can ever take it; queue.full; queue.deadline;
   *   run.cancelled before it began; engine.* when all attempts are used
   */
  async submit(job: Job, options: SubmitOptions = {}): Promise<RunResult> {
    await this.prepare(job);
    if (options.signal?.aborted) throw cancelled();
    return this.enqueue(job, options);
  }

  /** The part of {@link submit} that may ask nodes. @throws what {@link submit} does before the queue; engine.* if no node is up */
  async prepare(job: Job): Promise<void> {
    if (this.#stopping) throw stopping();
    await this.#transfers.check(job);
    // The books do not have a very new image yet.
    await this.#fleet.findImage(job.image);
    const wanted = wantedOf(job, this.#options.idleMemory);
    const { kind } = this.#scheduler.decide(wanted);
    if (kind === 'reject') throw rejection(job, wanted, this.#fleet);
    const noNode = kind === 'wait' ? this.#noNodeError(job) : undefined;
    if (noNode) throw noNode;
  }

  /** The part of {@link submit} that asks no node: puts the run into the queue before it returns. @throws queue.full, service.stopping */
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
    const ticket = newTicket(job, options, settle);
    const cancel = () => {
      if (this.#queue.remove(ticket.id)) this.#fail(ticket, cancelled());
    };
    const entry = entryOf(ticket);
    const reused = this.#sessions.take(job); // its memory is booked already, so the run does not wait
    if (!reused) this.#admit(entry);
    try {
      options.onAdmitted?.();
    } catch (error) {
      if (reused) this.#sessions.keep(job, reused);
      else this.#queue.remove(ticket.id);
      throw error;
    }
    signal?.addEventListener('abort', cancel, { once: true });
    if (reused) void this.#attempt(entry, reused.node, { reused });
    else this.#pump();
    return result;
  }

  /** Returns an error if the run must not wait: no node can become ready soon, and runs do not wait for nodes that are down. */
  #noNodeError(job: Job): KatafleetError | undefined {
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
    throw queueFull(job, answer);
  }

  #expire(): void {
    const now = Date.now();
    if (this.#expiring) return; // the next turn goes on
    const [asked, begun] = [this.#fleet.asked, performance.now()];
    for (let ended = 0; ; ended += 1) {
      if (ended >= mostExpiries || this.#fleet.asked - asked >= mostAsked || performance.now() - begun >= expiryMs) {
        this.#expiring = setImmediate(() => {
          this.#expiring = undefined;
          if (!this.#stopping) this.#expire();
        });
        return;
      }
      const [expired] = this.#queue.expired(now, 1);
      if (!expired) break;
      const { job, avoid, why } = expired.value;
      this.#fail(expired.value, tooLate(job, wantedOf(job, this.#options.idleMemory, avoid), this.#fleet, why));
    }
    this.#pump(); // time alone can make a run placeable: its patience ends, or it ages
    if (this.#queue.size === 0) {
      clearInterval(this.#tick);
      this.#tick = undefined;
    }
  }

  /** Places all runs that can be placed. A re-entrant call does not recurse: it makes the loop run once more. */
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

  /** Asks nodes that are held for runs to let idle sandboxes go, and sessions to give up kept ones, where that makes enough room. */
  #makeRoom(): void {
    for (const { node, bytes, pool } of this.#scheduler.giveWay(Date.now())) {
      const given = this.#fleet.node(node).sandboxes.giveWay(bytes, pool);
      if (given < bytes) this.#sessions.giveWay(node, bytes - given);
    }
  }

  #next(): ReturnType<Scheduler<Ticket>['next']> {
    const now = Date.now();
    if (!this.#options.patient && this.#queue.size > 0 && !this.#fleet.mayBecomeReady) {
      for (const { value } of this.#queue.expired(Infinity)) this.#fail(value, this.#noNodeError(value.job));
    }
    return this.#scheduler.next(now);
  }

  /** Makes one attempt, on the node where the scheduler has booked memory for it, or in the sandbox that its session kept. */
  async #attempt(entry: QueueEntry<Ticket>, node: string, { warm, reused }: { warm?: boolean; reused?: SessionSandbox }): Promise<void> {
    const ticket = entry.value;
    const { id, job, options } = ticket;
    const { recorder } = this.#options;
    const number = (ticket.attempts += 1);
    const resumed = reused !== undefined;
    const state = reused?.state ?? (job.request.session === undefined ? undefined : new SandboxState());
    this.#running.set(id, ticket);
    const stay = { memory: job.limits.memory, endsBy: Date.now() + job.longestMs };
    this.#fleet.cluster.started(node, stay);
    try {
      const begun = performance.now();
      // The journal writes while the node makes the lease.
      const lease = await leaseWhile(reused ? Promise.resolve(reused.lease) : this.#lease(ticket, node, warm ?? false), () => {
        recorder?.begin(id, number, { node, ...(warm === undefined ? {} : { warm }), resumed }, Date.now());
        options.onAttempt?.(number, node);
      });
      const acquired = performance.now();
      const resultOf = ({ result, executedAt }: Attempt): RunResult => {
        const at = { submitted: ticket.submitted, begun, acquired, executed: executedAt, collected: performance.now() };
        const warmth = { warm: resumed || lease.warm, resumed };
        return { id, image: job.request.image, node, attempt: number, ...warmth, ...result, timings: timingsOf(at) };
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
          if (state && !tried.ended && mayServeAgain(job, result)) again = { lease, node, state, born: reused?.born ?? begun };
        }
      } finally {
        room?.close();
        output?.close();
        if (again) this.#sessions.keep(job, again);
        else void lease.release().catch(() => undefined); // the reaper removes it later
      }
      if (!lost) return;
      const how = { ...lost, nodeLost: lost.silent || lease.lost.aborted, resumed, warm: lease.warm };
      const loss = await sandboxLost(ticket, this.#fleet.node(node), how, this.#options.attempts);
      if (loss.own && !options.signal?.aborted) finish(resultOf(lost));
      else this.#lost(entry, number, node, loss);
    } catch (error) {
      await this.#failed(entry, number, node, { error, resumed });
    } finally {
      this.#running.delete(id);
      this.#fleet.cluster.ended(node, stay);
      if (this.#running.size === 0) for (const resolve of this.#onIdle.splice(0)) resolve();
      this.#pump();
    }
  }

  #lease({ job, options }: Ticket, node: string, warm: boolean): Promise<Lease> {
    const { memory } = job.limits;
    const granted = warm ? memory - this.#options.idleMemory : memory;
    return this.#fleet.lease(node, job.image, job.limits, granted, options.signal, job.placing);
  }

  /** Handles an attempt that ended in an error. Tries the run again if the node is to blame, else ends the run. Never throws. */
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
      if (loss.error.code === 'node.full' && loss.avoid) this.#sessions.makeRoom((name) => name === node);
      this.#lost(entry, number, node, { ...loss, counts: loss.counts && !resumed });
    } catch (cause) {
      ticket.settle({ error: unwritten(cause, asError(error)) });
    }
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
      this.#queue.requeue(requeued(entry, loss));
      this.#tick ??= setInterval(() => this.#expire(), tickMs).unref();
      // The `finally` of #attempt calls #pump, which places the run again.
    } else {
      this.#fail(ticket, error, number); // in the journal the run is over, or has a newer attempt
    }
  }

  #fail(ticket: Ticket, error: unknown, number?: number): void {
    const known = asError(error);
    this.#scheduler.forget(ticket.id);
    try {
      this.#options.recorder?.fail(ticket.id, number, known, Date.now());
    } catch (cause) {
      // In the journal the run is not over: the next start of katafleet takes it up again.
      ticket.settle({ error: unwritten(cause, known) });
      return;
    }
    ticket.settle({ error: known });
  }
}
