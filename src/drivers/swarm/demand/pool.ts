import { type Clock, steadyClock, type Timer } from '../../../base/clock.ts';
import { type ErrorCode, KatafleetError, messageOf } from '../../../model/errors.ts';
import type { Sandbox, SandboxSpec } from '../../contract.ts';
import { Brake } from './brake.ts';
import type { Dialled } from '../dial/listener.ts';
import { replicasFor, wantLastsMs } from '../services/replicas.ts';
import { SwarmSandbox } from '../sandbox.ts';
import { shapeHash, type TaskShape } from '../services/service.ts';
import { secretName, type Services } from '../services/services.ts';
import type { TaskReport } from './tasks.ts';
import { Waiters } from './waiters.ts';

/** What the pools of one driver share. */
export interface PoolContext {
  services: Pick<Services, 'apply'>;
  /** How many tasks the machines can start at once. */
  starting: () => number;
  /** How long the highest number of replicas is kept, ms. */
  settleMs: number;
  lingerMs: number;
  /** How long a run waits for a task before it is told why none comes, ms. */
  patienceMs: number;
  nameOf: (node: string) => string;
  gone: (task: string) => Promise<void>;
  exitCode: (task: string, signal?: AbortSignal) => Promise<number | undefined>;
  /** Why the tasks of a service that are not with us have not come. */
  report: (service: string, connected: ReadonlySet<string>, since: number) => Promise<TaskReport>;
  /** Nodes were found to lack the image; it may be brought there. */
  onLacking: (shape: TaskShape, nodes: readonly string[]) => void;
  /** The swarm has no room for a pool. */
  onPressure: () => void;
  onTrouble: (message: string) => void;
  /** Tests pass their own. */
  clock?: Clock;
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
/** Where the swarm has made no task for who waits, it is told anew after so long, ms. */
const againMs = 5_000;

/** A task of a former shape is kept waiting so long, ms. */
const formerMs = 5_000;

/** What keeps the swarm from being told now, and not for ever. */
const passing: readonly ErrorCode[] = ['engine.unreachable', 'engine.timeout', 'engine.conflict', 'swarm.leaderless'];
const nothing: TaskReport = { words: [], insufficient: false, coming: 0, lacking: [] };

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
  readonly #clock: Clock;
  readonly #waiters: Waiters;
  readonly #spares = new Set<Dialled>();
  readonly #out = new Set<SwarmSandbox>();
  /** Nodes that lack the image. */
  #excluded: readonly string[] = [];
  /** What the swarm was told last, and when. */
  #told: Due & { at: number };
  /** Of the shape before that. */
  #former: string | undefined;
  /** Of the shape that the swarm still has, where only its secret is to be another: its tasks serve until then. */
  #renewed: string | undefined;
  readonly #stragglers = new Set<Dialled>();
  #fullAt: number;
  #usedAt: number;
  /** When a task has dialled in last. */
  #tookAt = -Infinity;
  #pressed = false;
  readonly #brake = new Brake();
  /** Whether who waited gave up, and none has come since. */
  #fruitless = false;
  #again = false;
  #timer: Timer | undefined;
  #timerAt = Infinity;
  #watch: Timer | undefined;
  #looking = false;
  /** What the swarm was told last has not been seen to be so. */
  #unseen = false;
  #applying: Promise<void> | undefined;
  #pauseMs = 0;
  #noRoomSince: number | undefined;
  #lastFailure: unknown;
  #last = nothing;
  #closed = false;

  /** `replicas` and `hash` are of a service that is there already. */
  constructor(name: string, label: string, shape: TaskShape | undefined, context: PoolContext, there?: { replicas: number; hash: string }) {
    this.name = name;
    this.label = label;
    this.shape = shape;
    this.#context = context;
    this.#clock = context.clock ?? steadyClock;
    this.#waiters = new Waiters(
      () => this.#clock.now(),
      () => this.#kick(gatherMs),
    );
    this.#fullAt = this.#usedAt = this.#clock.now();
    this.#told = { replicas: there?.replicas ?? 0, hash: there?.hash, excluded: '', at: -Infinity };
    if (there) this.#kick(settleLookMs);
  }

  /** How many replicas the swarm was told that we want. */
  get told(): number {
    return this.#told.replicas;
  }

  get out(): ReadonlySet<SwarmSandbox> {
    return this.#out;
  }

  get spares(): ReadonlySet<Dialled> {
    return this.#spares;
  }

  /** Whether its tasks may have a secret of this name, those that the swarm has not ended yet among them. */
  knows(secret: string): boolean {
    const hashes = [this.#told.hash, this.#former, this.shape && shapeHash(this.shape)];
    return hashes.some((hash) => hash !== undefined && secret === secretName(this.name, hash));
  }

  /** Sandboxes handed out, and those waited for. */
  get wanted(): number {
    return this.#waiters.size + this.#out.size;
  }

  /** Whether it has no replicas, and nobody who asks for any. */
  get idle(): boolean {
    return this.wanted === 0 && this.#told.replicas === 0;
  }

  /** Why what is waited for has not come; none if nothing is. */
  get troubles(): readonly string[] {
    if (this.#waiters.size === 0) return [];
    return this.#lastFailure === undefined ? this.#last.words : [messageOf(this.#lastFailure), ...this.#last.words];
  }

  /** A task that has dialled in, at once where one waits. @throws node.full, image.unknown, sandbox.failed, swarm.*, engine.*; the signal's reason */
  create(spec: SandboxSpec, signal?: AbortSignal): Promise<Sandbox> {
    signal?.throwIfAborted();
    if (this.#closed) return Promise.reject(closedError());
    const [spare] = this.#spares;
    if (spare) {
      this.#spares.delete(spare);
      const sandbox = this.#handOut(spare, spec);
      this.#kick(gatherMs);
      return Promise.resolve(sandbox);
    }
    const sandbox = this.#waiters.add(spec, signal);
    this.#kick(this.#told.replicas === 0 ? 0 : gatherMs);
    this.#watch ??= this.#clock.after(lookMs, () => this.#watchOn());
    return sandbox;
  }

  /** A task that has proved itself: to who waits longest, else it is kept. */
  take(dialled: Dialled): void {
    // One of a former shape, that the swarm has not taken away yet, would give a run the former image.
    const former =
      this.shape !== undefined &&
      ![shapeHash(this.shape), this.#renewed].some((hash) => hash && dialled.secret === secretName(this.name, hash));
    if (this.#closed) dialled.stream.destroy();
    else if (former) this.#hold(dialled);
    if (this.#closed || former) return;
    const at = (this.#tookAt = this.#clock.now());
    this.#fruitless = false;
    this.#forsake(dialled.task);
    if (!this.#waiters.serve((spec) => this.#handOut(dialled, spec))) this.#spares.add(dialled);
    void dialled.closed.then((how) => {
      const unused = this.#spares.delete(dialled);
      const [now, { spokenTo }] = [this.#clock.now(), dialled.stream];
      if (!this.#brake.over({ livedMs: now - at, unused, spokenTo, ended: how === 'ended' }, now)) return;
      this.#context.onTrouble(`${this.name}: its tasks end as soon as they have dialled in; there are no more of them now than runs wait`);
      this.#kick(0);
    });
  }

  /** A straggler that is sent away dials again at once; one that is kept waiting is ended by the swarm meanwhile. */
  #hold(dialled: Dialled): void {
    this.#stragglers.add(dialled);
    const timer = this.#clock.after(formerMs, () => dialled.stream.destroy());
    void dialled.closed.then(() => {
      timer.cancel();
      this.#stragglers.delete(dialled);
    });
  }

  /** A task that dials anew has lost its former connection, whether or not we have noticed. */
  #forsake(task: string): void {
    for (const spare of this.#spares) if (spare.task === task) this.#giveUp(spare);
    for (const sandbox of this.#out) if (sandbox.id === task) sandbox.cameBack();
  }

  /** From here on nobody gets it: that its stream is destroyed is heard of later. */
  #giveUp(spare: Dialled): void {
    this.#spares.delete(spare);
    spare.stream.destroy();
  }

  #handOut(dialled: Dialled, { name, labels }: SandboxSpec): SwarmSandbox {
    const sandbox = new SwarmSandbox(dialled, {
      name,
      labels,
      node: this.#context.nameOf(dialled.node),
      gone: this.#context.gone,
      exitCode: this.#context.exitCode,
      onRemoved: () => {
        this.#out.delete(sandbox);
        this.#kick(gatherMs);
      },
    });
    this.#out.add(sandbox);
    return sandbox;
  }

  /** The tasks are to be of another shape from now on: those that wait unused are given up, unless only their secret is to be another. */
  reshape(shape: TaskShape): void {
    const before = this.shape;
    const had = before ? shapeHash(before) : this.#told.hash;
    this.shape = shape;
    if (shapeHash(shape) === had) return;
    if (before && shapeHash({ ...before, generation: shape.generation }) === shapeHash(shape)) {
      this.#renewed = this.#told.hash === had ? had : this.#renewed;
    } else {
      this.#renewed = undefined;
      for (const spare of this.#spares) this.#giveUp(spare);
    }
    this.#kick(0);
  }

  /** Ids of the nodes that lack the image. */
  exclude(nodes: readonly string[]): void {
    if (nodes.join() === this.#excluded.join()) return;
    this.#excluded = nodes;
    this.#kick(0);
  }

  /** Whether the swarm lacks room for another pool: what is not wanted goes at once then. */
  press(pressed: boolean): void {
    this.#pressed = pressed;
    if (pressed) this.#kick(0);
  }

  /** Tells the swarm again what it was told: something else is there. */
  tellAgain(): void {
    this.#again = true;
    this.#kick(0);
  }

  /** Takes its service away, unless somebody wants it meanwhile; whether it is gone. @throws what `remove` throws */
  async retire(remove: () => Promise<void>): Promise<boolean> {
    if (!this.idle || this.#closed || this.#applying) return false;
    const removal = remove().then(() => {
      this.#told = { replicas: 0, hash: undefined, excluded: '', at: this.#clock.now() };
    });
    // Nothing is told meanwhile. Who waits for that waits for no more than the end of it.
    this.#applying = removal
      .catch(() => undefined)
      .finally(() => {
        this.#applying = undefined;
        this.#settle();
      });
    await removal;
    return this.idle;
  }

  #kick(ms: number): void {
    if (this.#closed) return;
    const wait = Math.max(ms, this.#pauseMs);
    const at = this.#clock.now() + wait;
    if (this.#timer !== undefined && this.#timerAt <= at) return;
    this.#timer?.cancel();
    this.#timerAt = at;
    this.#timer = this.#clock.after(wait, () => {
      this.#timer = undefined;
      this.#timerAt = Infinity;
      this.#applying ??= this.#apply().finally(() => {
        this.#applying = undefined;
        this.#settle();
      });
    });
  }

  /** What the numbers call for now. */
  #due(): Due {
    const now = this.#clock.now();
    const { wanted } = this;
    if (wanted > 0) this.#usedAt = now;
    if (wanted >= this.#told.replicas) this.#fullAt = now;
    const { settleMs, lingerMs } = this.#context;
    const [waiting, current] = [this.#waiters.size, this.#told.replicas];
    // What never came is not waited for as long as what was used.
    const fruitless = this.#fruitless && now - this.#usedAt >= this.#context.patienceMs;
    const pressed = this.#pressed || fruitless || this.#brake.on;
    const view = { now, wanted, waiting, current, fullAt: this.#fullAt, usedAt: this.#usedAt, pressed };
    const replicas = replicasFor(view, { starting: this.#context.starting(), settleMs, lingerMs });
    // A service that is there and is not used, or that nobody has asked for yet, is left as it is.
    if (!this.shape || (replicas === 0 && this.#told.replicas === 0)) return { ...this.#told, replicas };
    return { replicas, hash: shapeHash(this.shape), excluded: this.#excluded.join() };
  }

  #differs(due: Due): boolean {
    const { replicas, hash, excluded, at } = this.#told;
    if (due.hash === undefined) return false;
    if (due.replicas !== replicas || due.hash !== hash || due.excluded !== excluded) return true;
    return this.#again || (replicas > 0 && this.#clock.now() - at > wantLastsMs / 2);
  }

  async #apply(): Promise<void> {
    const due = this.#due();
    if (!this.#differs(due)) return;
    try {
      const { name, label } = this;
      const shape = this.shape && shapeHash(this.shape) === due.hash ? this.shape : undefined;
      this.#again = false;
      await this.#context.services.apply({ name, pool: label, shape, replicas: due.replicas, excluded: this.#excluded });
      const more = due.replicas > this.#told.replicas || due.hash !== this.#told.hash || due.excluded !== this.#told.excluded;
      if (due.replicas < this.#told.replicas) this.#brake.fewer(this.#clock.now());
      if (due.hash !== this.#told.hash) [this.#former, this.#renewed] = [this.#told.hash, undefined];
      this.#told = { ...due, at: this.#clock.now() };
      // What dialled in with the former secret is being ended by the swarm.
      for (const spare of this.#spares) if (due.hash !== undefined && spare.secret !== secretName(this.name, due.hash)) this.#giveUp(spare);
      if (more) this.#lookAfter();
      this.#pauseMs = 0;
      this.#lastFailure = undefined;
    } catch (error) {
      this.#lastFailure = error;
      this.#again = true;
      this.#pauseMs = Math.min(longestPauseMs, Math.max(firstPauseMs, this.#pauseMs * 2));
      this.#context.onTrouble(`${this.name}: ${messageOf(error)}`);
      // What the swarm refuses it will refuse again; what it can't now it may soon.
      if (error instanceof KatafleetError && !passing.includes(error.code)) this.#waiters.refuseAll(error);
    }
  }

  /** The next look, when there is anything to look at. */
  #settle(): void {
    if (this.#closed) return;
    if (this.#differs(this.#due())) this.#kick(gatherMs);
    else if (this.#told.replicas > 0) this.#kick(settleLookMs);
  }

  /** Who waits for long learns why. A manager that is slow to say it makes nobody wait longer. */
  #watchOn(): void {
    this.#watch = undefined;
    const { patienceMs } = this.#context;
    const longAgo = this.#clock.now() - patienceMs;
    // As long as some come, who waits is only behind others.
    if (this.#tookAt <= longAgo) this.#waiters.refuseUntil(longAgo, () => this.#outOfPatience());
    const { since } = this.#waiters;
    if (since === undefined) this.#last = nothing;
    const waited = since !== undefined && this.#clock.now() - since >= lookMs;
    if (!waited) this.#noRoomSince = undefined;
    if ((waited || this.#unseen) && !this.#looking) void this.#look(since ?? this.#told.at);
    if (since !== undefined || this.#unseen) this.#watch ??= this.#clock.after(lookMs, () => this.#watchOn());
  }

  /** What was told is looked at until it is so: where a node could not take its share, others may have taken it before anybody waited. */
  #lookAfter(): void {
    if (this.#closed) return;
    this.#unseen = true;
    this.#watch ??= this.#clock.after(lookMs, () => this.#watchOn());
  }

  /** From the swarm's own task states. `waitedFrom` is when the one who waits longest came. */
  async #look(waitedFrom: number): Promise<void> {
    this.#looking = true;
    try {
      const connected = new Set([...this.#spares, ...Array.from(this.#out, ({ dialled }) => dialled)].map(({ task }) => task));
      // Others may have some of them: it is not looked for for ever.
      if (connected.size >= this.#told.replicas || this.#clock.now() - this.#told.at >= this.#context.patienceMs) this.#unseen = false;
      const since = Date.now() - Math.min(this.#clock.now() - waitedFrom, reportMs);
      this.#last = await this.#context.report(this.name, connected, since);
      if (this.#last.lacking.length > 0 && this.shape) this.#context.onLacking(this.shape, this.#last.lacking);
      if (this.#last.insufficient && this.#waiters.size > 0) this.#context.onPressure();
    } catch (error) {
      this.#last = { ...nothing, words: [messageOf(error)] };
    } finally {
      this.#looking = false;
    }
    const { insufficient, coming, words } = this.#last;
    if (this.#waiters.size === 0) this.#last = nothing; // and not for those who come later
    const now = this.#clock.now();
    this.#noRoomSince = insufficient ? (this.#noRoomSince ?? now) : undefined;
    if (this.#noRoomSince !== undefined && now - this.#noRoomSince >= noRoomMs) {
      this.#noRoomSince = undefined;
      const error = new KatafleetError('node.full', `the swarm has no room for another sandbox: ${words.join('; ')}`);
      this.#waiters.refuseLast(this.#waiters.size - coming, error);
    }
    // It was removed, or something else came between: what the swarm was told is not so.
    if (words.length === 0 && this.#waiters.size > 0 && now - this.#told.at >= againMs) this.tellAgain();
  }

  #outOfPatience(): KatafleetError {
    this.#fruitless = true;
    const waited = `no task of ${this.name} has dialled in within ${this.#context.patienceMs / 1000} s`;
    if (this.#lastFailure instanceof KatafleetError) return this.#lastFailure;
    const { words } = this.#last;
    return new KatafleetError('sandbox.failed', `${waited}: ${words.length > 0 ? words.join('; ') : 'the swarm has not made any'}`, {
      hint: `tasks dial ${this.shape?.address ?? ''}: it must be reachable from every node; swarm.advertise in the configuration names another address`,
    });
  }

  /** Lets go of all tasks: they dial the next katafleet, or end with their service. Resolves when the swarm is told nothing more. */
  close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    this.#watch?.cancel();
    this.#waiters.refuseAll(closedError());
    for (const spare of this.#spares) this.#giveUp(spare);
    for (const { stream } of this.#stragglers) stream.destroy();
    return this.#applying ?? Promise.resolve();
  }
}

const closedError = () => new KatafleetError('node.lost', 'the driver is closed');
