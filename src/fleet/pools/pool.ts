import { setMaxListeners } from 'node:events';
import { Backoff } from '../../base/backoff.ts';
import { type Clock, steadyClock, type Timer } from '../../base/clock.ts';
import { withSignals } from '../../base/deadline.ts';
import { KatafleetError, messageOf } from '../../model/errors.ts';
import type { Sandbox } from '../../drivers/contract.ts';
import type { Conversation } from '../../protocol/conversation.ts';
import { DemandMeter, type PoolBounds, poolPlan, poolTarget } from '../../scheduler/targets.ts';
import { breakOnAbort, doneOrLate, endSupervisor, greet, type ReadySandbox } from './ready-sandbox.ts';
import type { Claim, Starts } from './starts.ts';

/** Memory that is booked for a run's own sandbox. The sandbox's maker takes it over. */
export interface Grant {
  readonly bytes: number;
  taken: boolean;
}

export interface PoolOptions extends PoolBounds {
  /** Creates a sandbox. Without a grant it is an idle one, and the maker books its memory. */
  create: (signal: AbortSignal, grant?: Grant) => Promise<Sandbox>;
  remove: (sandbox: Sandbox) => Promise<void>;
  /** The start slots, shared by the pools of a node: too many starts at once slow each other down. */
  starts: Starts;
  /** A start gives its slot back after this time, ms; if absent, when it has ended. */
  turnMs?: number;
  /** Called with a message when work in the background fails. */
  onTrouble?: (message: string) => void;
  /** Called when the number of idle sandboxes has changed. */
  onIdle?: (idle: number) => void;
  /** Resolves when the sandbox's supervisor has greeted. */
  greet?: (sandbox: Sandbox) => Promise<Conversation>;
  clock?: Clock;
}

interface AcquireOptions {
  signal?: AbortSignal | undefined;
  /** Without a grant the sandbox books memory itself. */
  grant?: Grant;
  shuns?: (sandbox: Sandbox) => boolean;
}

/** How long nothing starts after failed starts. */
const pauses = { firstMs: 250, mostMs: 15_000 };
/** Delay of a refill, which takes a CPU for a tenth of a second: most warm runs end before it begins. */
const refillDelayMs = 20;
/** How often a pool above its minimum checks whether it may shrink. */
const lookMs = 5_000;

/** The pool's image was rebuilt before a sandbox was started: another pool has replaced this one. */
export class PoolRetired extends Error {
  constructor() {
    super('the pool is retired');
  }
}

/** Idle, started, never used sandboxes of one (image, limits) on one node. */
export class WarmPool {
  readonly #options: PoolOptions;
  readonly #clock: Clock;
  readonly #idle: ReadySandbox[] = [];
  readonly #demand = new DemandMeter();
  readonly #closing = new AbortController();
  readonly #work = new Set<Promise<unknown>>();
  #look: Timer | undefined;
  #bounds: PoolBounds;
  #suspended = false;
  #retired = false;
  #filling = 0;
  #inUse = 0;
  #replacementMs = 300;
  readonly #backoff = new Backoff(pauses);
  #pause: Timer | undefined;
  /** Refills under way. */
  readonly #fills = new Set<AbortController>();

  constructor(options: PoolOptions) {
    this.#options = options;
    this.#bounds = options;
    this.#clock = options.clock ?? steadyClock;
    setMaxListeners(0, this.#closing.signal); // each sandbox that is starting listens to it
    this.#adjust();
  }

  get idle(): number {
    return this.#idle.length;
  }

  /** Whether none of its sandboxes is in use, starting or being removed. */
  get quiet(): boolean {
    return this.#inUse === 0 && this.#work.size === 0;
  }

  /** The idle sandboxes. */
  get sandboxes(): Sandbox[] {
    return this.#idle.map(({ sandbox }) => sandbox);
  }

  /** How many idle sandboxes the pool wants now. */
  get target(): number {
    return poolTarget({ ...this.#demand.at(this.#clock.now()), replacementMs: this.#replacementMs }, this.#bounds);
  }

  /** Changes the bounds; the pool follows in the background. */
  resize(bounds: PoolBounds): void {
    this.#bounds = bounds;
    this.#adjust();
  }

  /** Removes the idle sandboxes and starts none, until {@link resume}: the node is lost or must be emptied. */
  suspend(): void {
    this.#suspended = true;
    for (const ready of this.#idle.splice(0)) void this.#discard(ready);
    this.#changed();
  }

  resume(): void {
    if (!this.#suspended) return;
    this.#suspended = false;
    this.#pause?.cancel();
    this.#pause = undefined;
    this.#backoff.succeeded();
    this.#adjust();
  }

  /**
   * Removes the idle sandboxes that match; the pool replaces them. With a pause, the pool starts nothing for that time, ms, and breaks
   * off its refills. Resolves when the sandboxes are removed or left to the reaper.
   */
  async dismiss(matches: (sandbox: Sandbox) => boolean, pauseMs = 0): Promise<void> {
    const going = this.#idle.filter(({ sandbox }) => matches(sandbox));
    for (const ready of going) this.#idle.splice(this.#idle.indexOf(ready), 1);
    if (going.length > 0) this.#changed();
    if (pauseMs > 0) {
      for (const fill of this.#fills) fill.abort(new Error('the pool pauses its refills'));
      this.#rest(pauseMs);
    }
    const gone = Promise.all(going.map((ready) => this.#discard(ready)));
    this.#adjust();
    await gone;
  }

  #changed(): void {
    this.#options.onIdle?.(this.#idle.length);
  }

  /** Resolves when the number of idle sandboxes has reached the target. @throws the signal's reason */
  async filled(signal?: AbortSignal): Promise<void> {
    while (this.#idle.length < this.target) {
      signal?.throwIfAborted();
      this.#closing.signal.throwIfAborted();
      if (this.#work.size === 0)
        await new Promise((resolve) => setTimeout(resolve, 20)); // between two tries
      else await Promise.race(this.#work);
    }
  }

  /**
   * Returns an idle sandbox at once, one that is not shunned if possible. If there is none, starts a new one, before any refill and in
   * the order of the runs' claims. @throws sandbox.failed, engine.*, the signal's reason
   */
  async acquire(claim: Claim, { signal, grant, shuns }: AcquireOptions = {}): Promise<ReadySandbox & { warm: boolean }> {
    this.#inUse += 1;
    this.#demand.taken(this.#clock.now(), this.#inUse);
    const at = shuns ? this.#idle.findIndex(({ sandbox }) => !shuns(sandbox)) : 0;
    const [ready] = this.#idle.splice(Math.max(at, 0), 1);
    if (ready) {
      this.#changed();
      this.#clock.after(refillDelayMs, () => this.#adjust()); // the run goes first
      return { ...ready, warm: true };
    }
    try {
      const make = () =>
        this.#retired
          ? Promise.reject(new PoolRetired())
          : withSignals([signal, this.#closing.signal], (abort) => this.#make(abort, grant));
      const made = await this.#turn(make, claim, signal);
      return { ...made, warm: false };
    } catch (error) {
      this.#inUse -= 1;
      throw error;
    } finally {
      this.#adjust();
    }
  }

  /** Removes a sandbox that was acquired. Resolves when the engine has confirmed it. */
  async release(ready: ReadySandbox): Promise<void> {
    this.#inUse -= 1;
    await this.#track(this.#retire(ready));
  }

  async #retire(ready: ReadySandbox): Promise<void> {
    await endSupervisor(ready, this.#clock);
    await this.#options.remove(ready.sandbox);
  }

  /** Waits for a start slot and for the start. Gives the slot back earlier if the start takes longer than `turnMs`. */
  async #turn<T>(start: () => Promise<T>, claim?: Claim, signal?: AbortSignal): Promise<T> {
    const { starts, turnMs } = this.#options;
    if (turnMs === undefined) return starts.add(start, claim, signal);
    const begun = await starts.add(
      async () => {
        const work = start();
        await doneOrLate(work, turnMs, this.#clock);
        return { work };
      },
      claim,
      signal,
    );
    return begun.work;
  }

  async #make(abort: AbortSignal, grant?: Grant): Promise<ReadySandbox> {
    const begun = this.#clock.now();
    const sandbox = await this.#options.create(abort, grant);
    return breakOnAbort(sandbox, abort, async () => {
      try {
        const conversation = await (this.#options.greet ?? greet)(sandbox);
        this.#replacementMs += 0.2 * (this.#clock.now() - begun - this.#replacementMs);
        return { sandbox, conversation };
      } catch (error) {
        await this.#options.remove(sandbox);
        throw error;
      }
    });
  }

  #adjust(): void {
    if (this.#closing.signal.aborted || this.#suspended || this.#retired) return;
    const { target } = this;
    const { start, discard } = poolPlan({ idle: this.#idle.length, filling: this.#filling, target, paused: this.#pause !== undefined });
    if (discard > 0) {
      for (const ready of this.#idle.splice(target)) void this.#discard(ready);
      this.#changed();
    }
    for (let more = 0; more < start; more += 1) {
      this.#filling += 1;
      void this.#track(this.#turn(() => this.#fill()));
    }
    if (this.#idle.length <= this.#bounds.min) return;
    this.#look ??= this.#clock.after(lookMs, () => {
      this.#look = undefined;
      this.#adjust();
    });
  }

  async #fill(): Promise<void> {
    const fill = new AbortController();
    this.#fills.add(fill);
    try {
      if (this.#closing.signal.aborted || this.#suspended || this.#retired || this.#pause || this.#idle.length >= this.target) return;
      const ready = await this.#make(fill.signal);
      this.#backoff.succeeded();
      if (this.#closing.signal.aborted || this.#suspended || this.#retired) {
        await this.#options.remove(ready.sandbox);
        return;
      }
      this.#idle.push(ready);
      this.#changed();
      void ready.sandbox.closed.then(() => this.#diedIdle(ready));
    } catch (error) {
      if (!this.#closing.signal.aborted && !this.#suspended && !fill.signal.aborted) this.#hold(error);
    } finally {
      this.#fills.delete(fill);
      this.#filling -= 1;
      if (!this.#pause) this.#adjust();
    }
  }

  /** Asks a failing engine again, less and less often. */
  #hold(error: unknown): void {
    this.#options.onTrouble?.(`no sandbox for the pool: ${messageOf(error)}`);
    const pauseMs = this.#backoff.failed();
    if (!this.#pause) this.#rest(pauseMs);
  }

  #rest(ms: number): void {
    this.#pause?.cancel();
    this.#pause = this.#clock.after(ms, () => {
      this.#pause = undefined;
      this.#adjust();
    });
  }

  #diedIdle(ready: ReadySandbox): void {
    const at = this.#idle.indexOf(ready);
    if (at < 0) return; // it was in use, and its run has noticed
    this.#idle.splice(at, 1);
    this.#changed();
    void this.#discard(ready);
    this.#adjust();
  }

  #discard(ready: ReadySandbox): Promise<void> {
    const removal = this.#options.remove(ready.sandbox).catch((error: unknown) => {
      this.#options.onTrouble?.(`an idle sandbox could not be removed; the reaper will see to it: ${messageOf(error)}`);
    });
    return this.#track(removal);
  }

  #track<T>(work: Promise<T>): Promise<T> {
    this.#work.add(work);
    const done = () => this.#work.delete(work);
    work.then(done, done);
    return work;
  }

  /**
   * Removes the idle sandboxes and starts no more, because the image was rebuilt or removed. Runs keep their sandboxes, also those that
   * are still starting. Resolves when no start or removal is under way.
   */
  async retire(): Promise<void> {
    this.#retired = true;
    await this.#empty(new PoolRetired());
  }

  /** Removes the idle sandboxes and waits for starts and removals under way. */
  async close(): Promise<void> {
    const closed = new KatafleetError('service.stopping', 'katafleet is stopping, and the pool is closed'); // the next one takes up the runs
    this.#closing.abort(closed);
    await this.#empty(closed);
  }

  async #empty(why: Error): Promise<void> {
    for (const fill of this.#fills) fill.abort(why);
    this.#look?.cancel();
    this.#pause?.cancel();
    for (const ready of this.#idle.splice(0)) void this.#discard(ready);
    this.#changed();
    while (this.#work.size > 0) await Promise.allSettled(this.#work);
  }
}
