import { type Clock, steadyClock } from '../base/clock.ts';
import { KatafleetError } from '../model/errors.ts';
import type { RunResult } from '../model/result.ts';
import { minute } from '../base/units.ts';
import type { Fleet } from '../fleet/fleet.ts';
import { transfersWith } from './attempt/rsync-transfer.ts';
import type { Transfers } from './attempt/transfer.ts';
import type { DispatcherOptions } from './dispatcher-options.ts';
import { endedEvent, fileEvents } from './events/replay.ts';
import type { RunLog } from './events/run-log.ts';
import { type Job, wantedOf } from './job.ts';
import { Attempts } from './life/attempts.ts';
import { Deadlines } from './life/deadlines.ts';
import type { LifeEffect, LifeEvent, RunEnding } from './life/life.ts';
import { type LiveRun, newRun, type SubmitOptions } from './life/live-run.ts';
import { cancelled, isUnderway, next, stopping } from './life/machine.ts';
import { noRecorder, Records } from './life/records.ts';
import { Waiting } from './life/waiting.ts';
import { rejection, tooLate } from './rejection.ts';
import { type SessionLimits, Sessions } from './sessions/sessions.ts';

const noSessions: SessionLimits = { most: 0, perTenant: 0, idleMs: 0, ageMs: 0, memory: 0 };

/** Most nodes that are looked at in one turn of the event loop, to explain why runs found no place in time. */
const mostAsked = 2_000;

/** What is done for each effect of a run's life. A new effect does not compile without its row. */
type Executors = { [D in LifeEffect['do']]: (run: LiveRun, effect: Extract<LifeEffect, { do: D }>) => void };

/**
 * The one owner of runs that have not ended. All that happens to a run comes here as an event; the machine says what follows, and this
 * does it.
 */
export class Dispatcher {
  readonly #fleet: Fleet;
  readonly #options: DispatcherOptions;
  readonly #clock: Clock;
  readonly #transfers: Transfers;
  readonly #sessions: Sessions;
  readonly #records: Records;
  readonly #deadlines: Deadlines;
  readonly #waiting: Waiting;
  readonly #attempts: Attempts;
  readonly #runs = new Map<string, LiveRun>();
  readonly #executors: Executors;
  readonly #steadyOffset: number;
  #stopping = false;

  constructor(fleet: Fleet, options: DispatcherOptions) {
    this.#fleet = fleet;
    this.#options = options;
    const { clock = steadyClock, recorder = noRecorder, random = Math.random, idleMemory, limits, policy } = options;
    this.#clock = clock;
    this.#steadyOffset = clock.now() - Date.now();
    this.#transfers = options.transfers ?? transfersWith(undefined);
    this.#records = new Records(recorder);
    this.#deadlines = new Deadlines(clock, () => {
      const { asked } = fleet;
      return () => fleet.asked - asked >= mostAsked;
    });
    this.#sessions = new Sessions({
      limits: options.sessions ?? noSessions,
      node: (name) => {
        const books = fleet.cluster.node(name);
        return { usable: books?.health === 'ready' && books.cordoned === 'no', memory: books?.memory ?? 0 };
      },
      onKept: (node, bytes) => fleet.cluster.setKept(node, bytes),
    });
    const sessions = this.#sessions;
    this.#waiting = new Waiting({
      ...{ fleet, sessions, limits, policy, idleMemory, random, clock },
      takes: () => this.#records.takes,
      onPlace: (run, { node, warm }) => this.#apply(run, { type: 'place', at: clock.now(), node, warm, resumed: false }),
      onImpossible: (run) => this.#apply(run, { type: 'impossible', error: rejection(run.job, this.#waiting.wanted(run), fleet) }),
      onLook: () => this.#impatient(),
    });
    const { results, output } = options;
    this.#attempts = new Attempts({
      ...{ fleet, sessions, clock, idleMemory, results, output, transfers: this.#transfers },
      onEnd: () => this.#waiting.pump(),
    });
    this.#executors = this.#makeExecutors();
    fleet.onRoom(() => this.#waiting.pump());
    recorder.onTakes(() => this.#waiting.pump());
  }

  get waiting(): number {
    return this.#waiting.size;
  }

  /** How many attempts are under way. */
  get running(): number {
    return this.#attempts.size;
  }

  /** How many runs have not ended: those that wait, run, or are being stored. */
  get size(): number {
    return this.#runs.size;
  }

  /** The most attempts at one run; those that do not count are not among them. */
  get attempts(): number {
    return this.#options.attempts;
  }

  /** Accepts and starts no more runs. Runs that wait end with service.stopping. */
  stop(): void {
    if (this.#stopping) return;
    this.#stopping = true;
    this.#waiting.stop();
    for (const run of [...this.#runs.values()]) this.#apply(run, { type: 'stop' });
  }

  /** Stops, and ends the sandboxes of sessions. Resolves when they are removed. */
  async close(): Promise<void> {
    this.stop();
    await this.#sessions.close();
  }

  /** Resolves when no attempt is under way. */
  idle(): Promise<void> {
    return this.#attempts.idle();
  }

  /** Returns a run's position in the queue, 1 for the next; undefined if it is not in the queue. */
  position(id: string): number | undefined {
    return this.#waiting.scheduler.queue.position(id);
  }

  /** Returns a run that has not ended. */
  find(id: string): LiveRun | undefined {
    return this.#runs.get(id);
  }

  /**
   * Runs a job that nobody stores. A program that fails, times out or runs out of memory is an outcome, not an error.
   * @throws placement.impossible, image.unknown, limits.invalid at once if no node can ever take it; queue.full; queue.deadline;
   *   run.cancelled before it began; engine.* when all attempts are used
   */
  async submit(job: Job, options: SubmitOptions = {}): Promise<RunResult> {
    const { signal } = options;
    await this.prepare(job);
    if (signal?.aborted) throw cancelled();
    return new Promise((resolve, reject) => {
      const cancel = () => this.cancel(run.id);
      const run = this.open(job, options, (end) => {
        signal?.removeEventListener('abort', cancel);
        if (end.kind === 'finished') resolve(end.result);
        else reject(end.error);
      });
      signal?.addEventListener('abort', cancel, { once: true });
      this.stored(run);
    });
  }

  /** The part of a submission that may ask nodes. @throws what {@link submit} does before the queue; engine.* if no node is up */
  async prepare(job: Job): Promise<void> {
    if (this.#stopping) throw stopping();
    await this.#transfers.check(job);
    // The books do not have a very new image yet.
    await this.#fleet.findImage(job.image);
    const wanted = wantedOf(job, this.#options.idleMemory);
    const { kind } = this.#waiting.scheduler.decide(wanted);
    if (kind === 'reject') throw rejection(job, wanted, this.#fleet);
    const noNode = kind === 'wait' ? this.#noNodeError(job) : undefined;
    if (noNode) throw noNode;
  }

  /**
   * Takes a run into its first state, with its room in the queue reserved. It waits there until {@link stored} or {@link refused}.
   * @param told called once, when its end is stored
   * @throws queue.full, service.stopping
   */
  open(job: Job, options: SubmitOptions, told: (end: RunEnding) => void, log?: RunLog): LiveRun {
    if (this.#stopping) throw stopping();
    const { attempts, acquireMs = minute } = this.#options;
    const run = newRun({
      job,
      options,
      rules: { attempts, acquireMs },
      now: this.#clock.now(),
      steadyOffset: this.#steadyOffset,
      log,
      told,
    });
    run.reused = this.#sessions.take(job);
    if (!run.reused && !run.recovered) this.#waiting.reserve(run);
    this.#runs.set(run.id, run);
    this.#watch(run);
    return run;
  }

  /** The run is in the journal: it may be placed now. */
  stored(run: LiveRun): void {
    this.#apply(run, { type: 'stored', at: this.#clock.now() });
  }

  /** The journal did not take the run. */
  refused(run: LiveRun, error: KatafleetError): void {
    this.#apply(run, { type: 'refused', error });
  }

  /** Ends a run: one that waits never begins; one that runs is killed and keeps its output so far. */
  cancel(id: string): void {
    const run = this.#runs.get(id);
    if (run) this.#apply(run, { type: 'cancel', at: this.#clock.now() });
  }

  #apply(run: LiveRun, event: LifeEvent): void {
    const { life, effects } = next(run.life, event, run.rules);
    const changed = life !== run.life;
    run.life = life;
    if (changed) this.#watch(run);
    for (const effect of effects) this.#execute(run, effect);
  }

  #execute(run: LiveRun, effect: LifeEffect): void {
    const execute = this.#executors[effect.do] as (run: LiveRun, effect: LifeEffect) => void;
    execute(run, effect);
  }

  /** Sets the deadline of the run's state. */
  #watch(run: LiveRun): void {
    const { life, deadline } = run;
    if (life.phase === 'ended') {
      if (deadline) this.#deadlines.drop(deadline);
    } else if (deadline) {
      this.#deadlines.move(deadline, life.deadline);
    } else {
      const late = () => tooLate(run.job, this.#waiting.wanted(run), this.#fleet, isUnderway(run.life) ? run.life.tally.why : undefined);
      run.deadline = this.#deadlines.set(life.deadline, () => this.#apply(run, { type: 'deadline', at: this.#clock.now(), late }));
    }
  }

  #makeExecutors(): Executors {
    const tellOf = (run: LiveRun) => (event: LifeEvent) => this.#apply(run, event);
    return {
      enter: (run, effect) => {
        run.log.add({ type: 'queued' });
        if (!run.reused) {
          this.#waiting.enter(run, effect);
          return;
        }
        const { node } = run.reused;
        this.#apply(run, { type: 'place', at: this.#clock.now(), node, resumed: true });
      },
      leave: ({ id }) => this.#waiting.leave(id),
      'give back': (run) => {
        if (run.reused) this.#sessions.keep(run.job, run.reused);
        else if (!run.recovered) this.#waiting.giveBack(run);
        run.reused = undefined;
      },
      attempt: (run, where) => {
        const { id, log, onAttempt } = run;
        log.begin(where.attempt);
        log.add({ type: 'placed', node: where.node });
        this.#records.begin(id, where, tellOf(run));
        onAttempt?.(where.attempt, where.node);
        void this.#attempts.make(run, where, tellOf(run));
      },
      abort: ({ attempt }, { why }) => attempt?.abort.abort(why),
      break: ({ attempt }) => attempt?.break(),
      doubt: (_run, { node, error }) => this.#fleet.node(node).doubt(error),
      'make room': (_run, { node }) => void this.#sessions.makeRoom((name) => name === node),
      'record loss': (run, effect) => {
        run.log.add({ type: 'void', reason: effect.reason });
        this.#records.loss(run.id, effect.attempt, effect, tellOf(run));
      },
      write: (run, { end }) => this.#records.end(run.id, end, tellOf(run)),
      withdraw: ({ id }) => this.#records.withdraw(id),
      tell: (run, { end }) => this.#tell(run, end),
    };
  }

  #tell(run: LiveRun, end: RunEnding): void {
    this.#runs.delete(run.id);
    for (const close of run.held.splice(0)) close();
    logEnd(run.log, end);
    run.told(end);
  }

  /** Refuses the runs that wait if no node can become ready soon, and runs do not wait for nodes that are down. */
  #impatient(): void {
    if (this.#options.patient || this.#fleet.mayBecomeReady) return;
    for (const run of this.#waiting.leaveAll()) {
      const error = this.#noNodeError(run.job);
      if (error) this.#apply(run, { type: 'impossible', error });
    }
  }

  /** Returns an error if the run must not wait: no node can become ready soon, and runs do not wait for nodes that are down. */
  #noNodeError(job: Job): KatafleetError | undefined {
    if (this.#options.patient || this.#fleet.mayBecomeReady) return undefined;
    return this.#fleet.trouble ?? new KatafleetError('engine.unreachable', `no node is up to run ${job.request.image}`);
  }
}

/** The last events of a run. A run that is left to the next katafleet has none. */
function logEnd(log: RunLog, end: RunEnding): void {
  switch (end.kind) {
    case 'finished':
      if (log.wasRead) for (const body of fileEvents(end.result.changes)) log.add(body, body.path.length);
      log.add(endedEvent({ state: 'finished', outcome: end.result.outcome, error: undefined }));
      return;
    case 'failed': {
      const { code, message, hint } = end.error;
      const error = { code, message, ...(hint === undefined ? {} : { hint }) };
      log.add(endedEvent({ state: 'failed', outcome: undefined, error }));
      return;
    }
    case 'cancelled':
      log.add(endedEvent({ state: 'cancelled', outcome: undefined, error: undefined }));
      return;
    case 'left':
    case 'refused':
  }
}
