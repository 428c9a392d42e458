import { type Clock, steadyClock, type Timer } from '../../../base/clock.ts';
import { messageOf } from '../../../model/errors.ts';
import type { Sandbox, SandboxSpec } from '../../contract.ts';
import type { Dialled } from '../dial/listener.ts';
import type { SwarmSandbox } from '../sandbox.ts';
import { shapeHash, type TaskShape } from '../services/service.ts';
import { secretName } from '../services/services.ts';
import { next } from './next.ts';
import { closedError, firstState, type Happening, noReport, type PoolEffect, type PoolState, type ServiceTarget } from './pool-state.ts';
import type { TaskReport } from './tasks.ts';
import { DialledTasks } from './dialled-tasks.ts';
import type { SwarmSide } from './swarm-side.ts';
import { SandboxRequests } from './sandbox-requests.ts';

/** Failures of tasks older than this are ignored (ms). */
const reportMs = 30_000;
/**
 * The pool of one service: its tasks that have dialled in, and the requests that wait for one. next.ts decides what follows from an
 * event; this class carries it out.
 */
export class ServicePool {
  readonly name: string;
  readonly label: string;
  /** Undefined for an adopted service that no run has used yet. */
  shape: TaskShape | undefined;
  readonly #swarm: SwarmSide;
  readonly #clock: Clock;
  readonly #requests: SandboxRequests;
  readonly #tasks: DialledTasks;
  #state: PoolState;
  #wake: Timer | undefined;
  #watch: Timer | undefined;
  /** The call to the swarm that is under way. */
  #work: Promise<void> | undefined;

  /** `there`: what a service that exists already is set to. */
  constructor(
    name: string,
    label: string,
    shape: TaskShape | undefined,
    swarm: SwarmSide,
    { there, clock = steadyClock }: { there?: { replicas: number; hash: string } | undefined; clock?: Clock } = {},
  ) {
    this.name = name;
    this.label = label;
    this.shape = shape;
    this.#swarm = swarm;
    this.#clock = clock;
    this.#requests = new SandboxRequests(
      () => clock.now(),
      () => this.#handle({ type: 'numbers' }),
    );
    this.#tasks = new DialledTasks(swarm, clock, () => this.#handle({ type: 'numbers' }));
    const { rules } = swarm;
    const known = shape && { hash: shapeHash(shape), address: shape.address };
    this.#state = firstState({ name, rules, shape: known }, clock.now(), there);
    if (there) this.#handle({ type: 'adopted' });
  }

  /** Our share of the replicas that the service was last set to. */
  get replicas(): number {
    return this.#state.applied.replicas;
  }

  get handedOut(): ReadonlySet<SwarmSandbox> {
    return this.#tasks.handedOut;
  }

  get spares(): ReadonlySet<Dialled> {
    return this.#tasks.spares;
  }

  /** Whether its tasks may have the secret of this name, including tasks that the swarm has not ended yet. */
  knows(secret: string): boolean {
    const { applied, formerHash, shape } = this.#state;
    return this.#isOf(secret, [applied.hash, formerHash, shape?.hash]);
  }

  #isOf(secret: string, hashes: readonly (string | undefined)[]): boolean {
    return hashes.some((hash) => hash !== undefined && secret === secretName(this.name, hash));
  }

  /** Number of sandboxes handed out and of waiting requests. */
  get wanted(): number {
    return this.#requests.size + this.#tasks.handedOut.size;
  }

  /** Whether it has no replicas and no requests. */
  get idle(): boolean {
    return this.wanted === 0 && this.replicas === 0;
  }

  /** Why tasks have not dialled in, while requests wait; else empty. */
  get troubles(): readonly string[] {
    const { failure, report } = this.#state;
    if (this.#requests.size === 0) return [];
    return failure ? [messageOf(failure.error), ...report.words] : report.words;
  }

  /**
   * Returns a sandbox, at once if a spare task is there.
   * @throws node.full, image.unknown, sandbox.failed, swarm.*, engine.*; the signal's reason
   */
  create(spec: SandboxSpec, signal?: AbortSignal): Promise<Sandbox> {
    signal?.throwIfAborted();
    if (this.#state.closed) return Promise.reject(closedError());
    const spare = this.#tasks.spare(spec);
    if (spare) {
      this.#handle({ type: 'numbers' });
      return Promise.resolve(spare);
    }
    const sandbox = this.#requests.add(spec, signal);
    this.#handle({ type: 'waits' });
    return sandbox;
  }

  /** Takes a task that has authenticated: hands it to the oldest request, or keeps it as a spare. */
  take(dialled: Dialled): void {
    const { shape, renewedHash, closed } = this.#state;
    if (closed) return void dialled.stream.destroy();
    // A task of a former shape, which the swarm has not ended yet, would give a run the former image.
    if (shape && !this.#isOf(dialled.secret, [shape.hash, renewedHash])) {
      this.#tasks.hold(dialled);
      return;
    }
    const at = this.#clock.now();
    this.#handle({ type: 'dialled' });
    this.#tasks.forsake(dialled.task);
    if (!this.#requests.serve((spec) => this.#tasks.handOut(dialled, spec))) this.#tasks.keep(dialled);
    void dialled.closed.then((how) => {
      const unused = this.#tasks.drop(dialled);
      const livedMs = this.#clock.now() - at;
      this.#handle({ type: 'ended', end: { livedMs, unused, spokenTo: dialled.stream.spokenTo, ended: how === 'ended' } });
    });
  }

  /** Changes the shape of its tasks. Gives up the spare tasks, unless only the secret changes. */
  reshape(shape: TaskShape): void {
    const before = this.shape;
    this.shape = shape;
    const hash = shapeHash(shape);
    const onlySecret = before !== undefined && shapeHash({ ...before, generation: shape.generation }) === hash;
    this.#handle({ type: 'reshaped', shape: { hash, address: shape.address }, onlySecret });
  }

  /** Places no tasks on these nodes, by their ids: they lack the image. */
  exclude(nodes: readonly string[]): void {
    this.#handle({ type: 'excluded', nodes });
  }

  /** While another pool finds no room, it keeps no replicas that are not wanted. */
  press(pressed: boolean): void {
    this.#handle({ type: 'pressed', pressed });
  }

  /** Sets the service again: others have changed it. */
  reapply(): void {
    this.#handle({ type: 'changed by others' });
  }

  /** Removes its service, unless a request comes meanwhile. Returns whether it is removed. @throws what `remove` throws */
  async retire(remove: () => Promise<void>): Promise<boolean> {
    if (!this.idle || this.#state.closed || this.#state.busy !== 'no') return false;
    this.#handle({ type: 'retiring' });
    const removal = remove();
    // No other call is made meanwhile. `close` waits only for its end, not for its result.
    this.#work = removal.then(
      () => this.#handle({ type: 'retired', removed: true }),
      () => this.#handle({ type: 'retired', removed: false }),
    );
    await this.#work;
    await removal;
    return this.idle;
  }

  /** Disconnects all tasks: they dial the next katafleet, or end with their service. Resolves after the last call to the swarm. */
  async close(): Promise<void> {
    this.#wake?.cancel();
    this.#watch?.cancel();
    this.#handle({ type: 'closed' });
    this.#tasks.sendAway();
    await this.#work;
  }

  #handle(happening: Happening): void {
    const seen = {
      now: this.#clock.now(),
      waiting: this.#requests.since,
      handedOut: this.#tasks.handedOut.size,
      starting: this.#swarm.starting(),
    };
    const { state, effects } = next(this.#state, { ...happening, seen });
    this.#state = state;
    for (const effect of effects) this.#do(effect);
  }

  #do(effect: PoolEffect): void {
    switch (effect.do) {
      case 'wake':
        this.#wake?.cancel();
        this.#wake = this.#clock.after(effect.ms, () => this.#handle({ type: 'woken' }));
        return;
      case 'watch':
        this.#watch = this.#clock.after(effect.ms, () => this.#handle({ type: 'watch', connected: this.#tasks.connected.size }));
        return;
      case 'apply':
        this.#work = this.#apply(effect.target);
        return;
      case 'look':
        void this.#look(effect.from);
        return;
      case 'give up spares':
        this.#tasks.giveUp((secret) => effect.but === undefined || !this.#isOf(secret, [effect.but]));
        return;
      case 'refuse':
        if (effect.whom === 'all') this.#requests.refuseAll(effect.error);
        else if ('last' in effect.whom) this.#requests.refuseLast(effect.whom.last, effect.error);
        else this.#requests.refuseUntil(effect.whom.until, effect.error);
        return;
      case 'lacking':
        if (this.shape) this.#swarm.onLacking(this.shape, effect.nodes);
        return;
      case 'pressure': {
        this.#swarm.onPressure();
        return;
      }
      case 'trouble': {
        this.#swarm.onTrouble(effect.message);
        return;
      }
    }
  }

  async #apply(target: ServiceTarget): Promise<void> {
    const shape = this.shape && shapeHash(this.shape) === target.hash ? this.shape : undefined;
    const { replicas } = target;
    try {
      await this.#swarm.services.apply({ name: this.name, pool: this.label, shape, replicas, excluded: this.#state.excluded });
    } catch (error) {
      this.#handle({ type: 'apply failed', error });
      return;
    }
    this.#handle({ type: 'applied', target });
  }

  /** Asks the swarm for the states of its tasks. */
  async #look(from: number): Promise<void> {
    const since = Date.now() - Math.min(this.#clock.now() - from, reportMs);
    let report: TaskReport;
    try {
      report = await this.#swarm.report(this.name, this.#tasks.connected, since);
    } catch (error) {
      report = { ...noReport, words: [messageOf(error)] };
    }
    this.#handle({ type: 'reported', report });
  }
}
