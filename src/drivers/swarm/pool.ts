import { KatafleetError, messageOf } from '../../core/errors.ts';
import type { Sandbox, SandboxSpec } from '../contract.ts';
import type { Dialled } from './listener.ts';
import { replicasFor, wantLastsMs } from './replicas.ts';
import { SwarmSandbox } from './sandbox.ts';
import { shapeHash, type TaskShape } from './service.ts';
import { secretName, type Services } from './services.ts';
import type { TaskReport } from './tasks.ts';

/** What the pools of one driver share. */
export interface PoolContext {
  services: Services;
  /** How long the highest number of replicas is kept, ms. */
  settleMs: number;
  lingerMs: number;
  /** How long a run waits for a task before it is told why none comes, ms. */
  patienceMs: number;
  nameOf: (node: string) => string;
  gone: (task: string) => Promise<void>;
  /** Why the tasks of a service that are not with us have not come. */
  report: (service: string, connected: ReadonlySet<string>, since: number) => Promise<TaskReport>;
  /** Nodes were found to lack the image; it may be brought there. */
  onLacking: (shape: TaskShape, nodes: readonly string[]) => void;
  /** The swarm has no room for a pool. */
  onPressure: () => void;
  onTrouble: (message: string) => void;
}

/**
 * A change in the number of replicas waits so long, ms: a short run is over before, and its replacement is what was wanted.
 * Measured by `npm run bench:swarm`.
 */
const gatherMs = 100;
const lookMs = 1_000;
/** How often a pool that holds more than is wanted, or nothing at all, looks again. */
const settleLookMs = 5_000;
const [firstPauseMs, longestPauseMs] = [250, 5_000];
/** What has failed so long ago says nothing about now, ms. */
const reportMs = 30_000;
/** A swarm that finds no room for so long has none, ms. */
const noRoomMs = 2_000;

interface Waiter {
  spec: SandboxSpec;
  since: number;
  resolve: (sandbox: Sandbox) => void;
  reject: (error: unknown) => void;
}

/** What the swarm is, or should be, told of a service. */
interface Due {
  /** On our behalf. */
  replicas: number;
  /** Of its tasks' shape. */
  hash: string | undefined;
  /** Ids of nodes, joined. */
  excluded: string;
}

/** One service: its tasks that have dialled in, who waits for one, and how many there should be. */
export class ServicePool {
  readonly name: string;
  readonly label: string;
  /** Undefined for a service that was there already and that nobody has asked for yet. */
  shape: TaskShape | undefined;
  readonly #context: PoolContext;
  readonly #waiting = new Set<Waiter>();
  readonly #spares = new Set<Dialled>();
  readonly #out = new Set<SwarmSandbox>();
  /** Nodes that lack the image. */
  #excluded: readonly string[] = [];
  /** What the swarm was told last, and when, Unix ms. */
  #told: Due & { at: number };
  #fullAt = performance.now();
  #usedAt = performance.now();
  #pressed = false;
  #timer: NodeJS.Timeout | undefined;
  #timerAt = Infinity;
  #watch: NodeJS.Timeout | undefined;
  #applying: Promise<void> | undefined;
  #pauseMs = 0;
  #noRoomSince: number | undefined;
  #lastFailure: unknown;
  #last: TaskReport = { words: [], insufficient: false, lacking: [] };
  #closed = false;

  /** `replicas` and `hash` are of a service that is there already. */
  constructor(name: string, label: string, shape: TaskShape | undefined, context: PoolContext, there?: { replicas: number; hash: string }) {
    this.name = name;
    this.label = label;
    this.shape = shape;
    this.#context = context;
    this.#told = { replicas: there?.replicas ?? 0, hash: there?.hash, excluded: '', at: 0 };
    if (there) this.#kick(settleLookMs);
  }

  get out(): ReadonlySet<SwarmSandbox> {
    return this.#out;
  }

  get spares(): ReadonlySet<Dialled> {
    return this.#spares;
  }

  /** Whether its tasks may have a secret of this name. */
  knows(secret: string): boolean {
    const { hash } = this.#told;
    return (
      (hash !== undefined && secret === secretName(this.name, hash)) ||
      (this.shape !== undefined && secret === secretName(this.name, shapeHash(this.shape)))
    );
  }

  /** Sandboxes handed out, and those waited for. */
  get wanted(): number {
    return this.#waiting.size + this.#out.size;
  }

  /** Whether it has no replicas, and nobody who asks for any. */
  get idle(): boolean {
    return this.wanted === 0 && this.#told.replicas === 0;
  }

  /** Why what is waited for has not come; none if nothing is. */
  get troubles(): readonly string[] {
    if (this.#waiting.size === 0) return [];
    return this.#lastFailure === undefined ? this.#last.words : [messageOf(this.#lastFailure), ...this.#last.words];
  }

  /** A task that has dialled in, at once where one waits. @throws node.full, image.unknown, sandbox.failed, swarm.*, engine.*; the signal's reason */
  create(spec: SandboxSpec, signal?: AbortSignal): Promise<Sandbox> {
    signal?.throwIfAborted();
    const [spare] = this.#spares;
    if (spare) {
      this.#spares.delete(spare);
      const sandbox = this.#handOut(spare, spec);
      this.#kick(gatherMs);
      return Promise.resolve(sandbox);
    }
    return new Promise((resolve, reject) => {
      const waiter: Waiter = {
        spec,
        since: performance.now(),
        resolve: (sandbox) => {
          done();
          resolve(sandbox);
        },
        reject: (error) => {
          done();
          reject(error instanceof Error ? error : new Error(messageOf(error)));
        },
      };
      const aborted = () => waiter.reject(signal?.reason);
      const done = () => {
        this.#waiting.delete(waiter);
        signal?.removeEventListener('abort', aborted);
        this.#kick(gatherMs);
      };
      signal?.addEventListener('abort', aborted, { once: true });
      this.#waiting.add(waiter);
      this.#kick(this.#told.replicas === 0 ? 0 : gatherMs);
      this.#watch ??= setInterval(() => void this.#look(), lookMs).unref();
    });
  }

  /** A task that has proved itself: to who waits longest, else it is kept. */
  take(dialled: Dialled): void {
    const [waiter] = this.#waiting;
    if (this.#closed) {
      dialled.stream.destroy();
    } else if (waiter) {
      waiter.resolve(this.#handOut(dialled, waiter.spec));
    } else {
      this.#spares.add(dialled);
      void dialled.closed.then(() => this.#spares.delete(dialled));
    }
  }

  #handOut(dialled: Dialled, { name, labels }: SandboxSpec): SwarmSandbox {
    const sandbox = new SwarmSandbox(dialled, {
      name,
      labels,
      node: this.#context.nameOf(dialled.node),
      gone: this.#context.gone,
      onRemoved: () => {
        this.#out.delete(sandbox);
        this.#kick(gatherMs);
      },
    });
    this.#out.add(sandbox);
    return sandbox;
  }

  /** The tasks are to be of another shape from now on: those that wait unused are given up. */
  reshape(shape: TaskShape): void {
    const had = this.shape ? shapeHash(this.shape) : this.#told.hash;
    this.shape = shape;
    if (shapeHash(shape) === had) return;
    for (const spare of this.#spares) spare.stream.destroy();
    this.#kick(0);
  }

  /** Ids of the nodes that lack the image. */
  exclude(nodes: readonly string[]): void {
    this.#excluded = nodes;
    this.#kick(0);
  }

  /** Whether the swarm lacks room for another pool: what is not wanted goes at once then. */
  press(pressed: boolean): void {
    this.#pressed = pressed;
    if (pressed) this.#kick(0);
  }

  #kick(ms: number): void {
    if (this.#closed) return;
    const at = performance.now() + Math.max(ms, this.#pauseMs);
    if (this.#timer !== undefined && this.#timerAt <= at) return;
    clearTimeout(this.#timer);
    this.#timerAt = at;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#timerAt = Infinity;
      this.#applying ??= this.#apply().finally(() => {
        this.#applying = undefined;
        this.#settle();
      });
    }, at - performance.now()).unref();
  }

  /** What the numbers call for now. */
  #due(): Due {
    const now = performance.now();
    const { wanted } = this;
    if (wanted > 0) this.#usedAt = now;
    if (wanted >= this.#told.replicas) this.#fullAt = now;
    const { settleMs, lingerMs } = this.#context;
    const view = { now, wanted, current: this.#told.replicas, fullAt: this.#fullAt, usedAt: this.#usedAt, pressed: this.#pressed };
    const replicas = replicasFor(view, { settleMs, lingerMs });
    // A service that is there and is not used is left as it is.
    const hash = !this.shape || (replicas === 0 && this.#told.replicas === 0) ? this.#told.hash : shapeHash(this.shape);
    return { replicas, hash, excluded: this.#excluded.join() };
  }

  #differs(due: Due): boolean {
    const { replicas, hash, excluded, at } = this.#told;
    if (due.hash === undefined) return false;
    if (due.replicas !== replicas || due.hash !== hash || due.excluded !== excluded) return true;
    return replicas > 0 && Date.now() - at > wantLastsMs / 2;
  }

  async #apply(): Promise<void> {
    const due = this.#due();
    if (!this.#differs(due)) return;
    try {
      const { name, label, shape } = this;
      await this.#context.services.apply({ name, pool: label, shape, replicas: due.replicas, excluded: this.#excluded });
      this.#told = { ...due, at: Date.now() };
      this.#pauseMs = 0;
      this.#lastFailure = undefined;
    } catch (error) {
      this.#lastFailure = error;
      this.#pauseMs = Math.min(longestPauseMs, Math.max(firstPauseMs, this.#pauseMs * 2));
      this.#context.onTrouble(`${this.name}: ${messageOf(error)}`);
      // What the swarm refuses it will refuse again; what it can't now it may soon.
      const refused = error instanceof KatafleetError && !error.code.startsWith('swarm.') && error.code !== 'engine.unreachable';
      if (refused) for (const waiter of this.#waiting) waiter.reject(error);
    }
  }

  /** The next look, when there is anything to look at. */
  #settle(): void {
    if (this.#closed) return;
    if (this.#differs(this.#due())) this.#kick(gatherMs);
    else if (this.#told.replicas > 0) this.#kick(settleLookMs);
  }

  /** Who waits for long learns why from the swarm's own task states. */
  async #look(): Promise<void> {
    const [first] = this.#waiting;
    if (!first) {
      clearInterval(this.#watch);
      this.#watch = undefined;
      this.#noRoomSince = undefined;
      return;
    }
    const now = performance.now();
    if (now - first.since < lookMs) return;
    try {
      const connected = new Set([...this.#spares, ...Array.from(this.#out, ({ dialled }) => dialled)].map(({ task }) => task));
      const since = Date.now() - Math.min(now - first.since, reportMs);
      this.#last = await this.#context.report(this.name, connected, since);
      if (this.#last.lacking.length > 0 && this.shape) this.#context.onLacking(this.shape, this.#last.lacking);
      if (this.#last.insufficient) this.#context.onPressure();
    } catch (error) {
      this.#last = { words: [messageOf(error)], insufficient: false, lacking: [] };
    }
    this.#noRoomSince = this.#last.insufficient ? (this.#noRoomSince ?? performance.now()) : undefined;
    if (this.#noRoomSince !== undefined && performance.now() - this.#noRoomSince >= noRoomMs) {
      this.#noRoomSince = undefined;
      const error = new KatafleetError('node.full', `the swarm has no room for another sandbox: ${this.#last.words.join('; ')}`);
      for (const waiter of this.#waiting) waiter.reject(error);
    }
    for (const waiter of this.#waiting) {
      if (performance.now() - waiter.since >= this.#context.patienceMs) waiter.reject(this.#outOfPatience());
    }
  }

  #outOfPatience(): KatafleetError {
    const waited = `no task of ${this.name} has dialled in within ${this.#context.patienceMs / 1000} s`;
    if (this.#lastFailure instanceof KatafleetError) return this.#lastFailure;
    const { words } = this.#last;
    return new KatafleetError('sandbox.failed', `${waited}: ${words.length > 0 ? words.join('; ') : 'the swarm has not made any'}`, {
      hint: `tasks dial ${this.shape?.address ?? ''}: it must be reachable from every node; swarm.advertise in the configuration names another address`,
    });
  }

  /** Lets go of all tasks: they dial the next katafleet, or end with their service. */
  close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    clearInterval(this.#watch);
    for (const waiter of this.#waiting) waiter.reject(new KatafleetError('node.lost', 'the driver is closed'));
    for (const spare of this.#spares) spare.stream.destroy();
    return this.#applying ?? Promise.resolve();
  }
}
