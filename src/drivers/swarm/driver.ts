import type { Readable } from 'node:stream';
import { hour } from '../../base/units.ts';
import { Memo } from '../../base/memo.ts';
import { KatafleetError, messageOf } from '../../model/errors.ts';
import { labels } from '../../model/labels.ts';
import type { Machine } from '../../model/node.ts';
import type { SandboxLimits } from '../../model/profile.ts';
import type { Driver, Fingerprint, NodeImage, OwnedContainer, PreparedImage, Sandbox, SandboxSpec } from '../contract.ts';
import { takesTasks } from '../machines.ts';
import { Departures } from './demand/departures.ts';
import { exitCode } from './exit-code.ts';
import { SwarmImages } from './nodes/images.ts';
import type { SwarmKeys } from './services/keys.ts';
import { Leftovers } from './nodes/leftovers.ts';
import type { Listener } from './dial/listener.ts';
import { type ManagerEngine, Managers } from './nodes/managers.ts';
import { setAvailability, swarmFingerprint, swarmNodes } from './nodes/nodes.ts';
import { ServicePool } from './demand/pool.ts';
import { sandboxesByNode } from './demand/dialled-tasks.ts';
import type { PoolRules } from './demand/pool-state.ts';
import type { SwarmSide } from './demand/swarm-side.ts';
import { pullEverywhere } from './nodes/pull.ts';
import { isOurPool, mergeWants } from './services/replicas.ts';
import { Rounds } from './nodes/rounds.ts';
import type { TaskNetwork, TaskShape } from './services/service.ts';
import { poolLabels, replicasOf, Services } from './services/services.ts';
import { Shapes } from './services/shapes.ts';
import { isOver } from '../docker/task-states.ts';
import { type TaskReport, taskReport, tasksById, tasksOf } from './demand/tasks.ts';

export interface SwarmDriverOptions {
  /** Managers of one swarm; the first is asked first. */
  managers: readonly [ManagerEngine, ...ManagerEngine[]];
  listener: Listener;
  keys: SwarmKeys;
  stack: string;
  /** Under which this katafleet's numbers stand in a service's labels: the same after a restart. */
  instance: string;
  /** Labels for what is nobody's after this process; the driver takes its services away when it is closed. Absent: they stay for the next katafleet. */
  ephemeral?: Readonly<Record<string, string>> | undefined;
  /** Where tasks dial in, `HOST:PORT`, by the way that {@link dial} names; found out if absent. */
  advertise?: string | undefined;
  /** The port of the machine at which the listener is reached, where that is not its own. */
  published?: number | undefined;
  /** How the tasks of a profile are connected that does not say. */
  dial: TaskNetwork;
  network?: string | undefined;
  registry?: string | undefined;
  workers: readonly Driver[];
  /** How often services get a new secret, ms; never if absent. */
  rotateMs?: number | undefined;
  lingerMs: number;
  patienceMs: number;
  /** How long the highest number of a service's replicas is kept, ms; a minute if absent. */
  settleMs?: number;
  onTrouble?: ((message: string) => void) | undefined;
}

/** How often the driver looks after its services, ms. */
const tendMs = 30_000;
/** Tasks that a machine can start at once, and still answer. */
const startsOfMachine = 8;
/** A service without replicas that nobody asked for is removed after so long, ms. */
const unusedMs = 24 * hour;

/**
 * A swarm, by its managers' API alone: for each image and limits a service of single-use sandboxes that dial us. The swarm
 * places them, replaces what has served, and moves what was lost; we only say how many.
 */
export class SwarmDriver implements Driver, SwarmSide {
  readonly kind = 'swarm';
  readonly endpoint: string;
  /** Sandboxes live on when no manager answers. */
  readonly independent = true;
  /** The swarm itself shares out what is started. */
  readonly starts = 256;
  readonly #options: SwarmDriverOptions;
  readonly #managers: Managers;
  readonly services: Services;
  readonly #images: SwarmImages;
  readonly #leftovers: Leftovers;
  readonly #shapes: Shapes;
  readonly #pools = new Map<string, ServicePool>();
  readonly #stopReceiving = new Map<string, () => void>();
  readonly #closing = new AbortController();
  readonly #rounds: Rounds;
  readonly #departures = new Departures({ over: (tasks) => this.#over(tasks), signal: this.#closing.signal });
  #nodes: Machine[] = [];
  readonly #probed = new Memo(() => this.#probe());
  #adopted = false;
  #pressureUntil = 0;

  constructor(options: SwarmDriverOptions) {
    this.#options = options;
    const { managers, keys, stack, instance, ephemeral, network, workers, registry } = options;
    this.#managers = new Managers(managers);
    this.endpoint = managers[0].endpoint;
    this.services = new Services({ managers: this.#managers, keys, stack, instance, ephemeral, network });
    const onTrouble = (message: string) => this.onTrouble(message);
    this.#leftovers = new Leftovers(stack, [...managers, ...workers], onTrouble);
    this.#images = new SwarmImages({
      managers: this.#managers,
      workers,
      registry,
      pull: (reference, architecture) => pullEverywhere(this.#managers, this.services, reference, architecture, this.#closing.signal),
      onChange: (image) => void this.#imageChanged(image),
      onTrouble,
    });
    this.#shapes = new Shapes(this.#managers, this.#images, options);
    const jobs = {
      'what is pressed': () => this.#relax(),
      'nodes that lack an image': () => this.#images.forget(),
      'secrets could not be renewed': () => this.#renew(),
      'the services could not be looked after': () => this.#lookAtServices(),
      'what is left over could not be removed': () => this.#leftovers.sweep(),
    };
    this.#rounds = new Rounds({ everyMs: tendMs, jobs, onTrouble });
  }

  probe(): Promise<Fingerprint> {
    return this.#probed.get();
  }

  async #probe(): Promise<Fingerprint> {
    const manager = await this.#managers.ask((engine) => engine.probe());
    this.#nodes = await swarmNodes(this.#managers);
    await this.#shapes.learn(this.#nodes.length > 1);
    await this.#adopt();
    return swarmFingerprint(manager, this.#nodes);
  }

  forget(): void {
    this.#probed.forget();
    this.#shapes.forget();
    for (const engine of this.#managers.engines) engine.forget();
  }

  /** Services that an earlier katafleet of this deployment left: their tasks are ours now. */
  async #adopt(): Promise<void> {
    this.#rounds.start();
    if (this.#adopted || this.#options.ephemeral) return;
    const { stack, keys, instance } = this.#options;
    let strangers = 0;
    for (const { Spec } of await this.services.list()) {
      const own = Spec.Labels ?? {};
      const [hash, label] = [own[poolLabels.shape], own[poolLabels.pool]];
      if (!isOurPool(own, stack, keys.id) || hash === undefined || label === undefined) {
        if (own[labels.deadline] === undefined) strangers += 1;
        continue;
      }
      // What no other katafleet says that it wants is ours.
      const replicas = replicasOf(Spec) - mergeWants(own, instance, 0, Date.now()).replicas;
      if (!this.#closing.signal.aborted && !this.#pools.has(Spec.Name))
        this.#add(Spec.Name, label, undefined, { replicas: Math.max(0, replicas), hash });
    }
    this.#adopted = true;
    if (strangers > 0)
      this.onTrouble(
        `${strangers} services of another key are in the swarm: katafleet undeploy takes away what an old deployment has left`,
      );
  }

  #add(name: string, label: string, shape: TaskShape | undefined, there?: { replicas: number; hash: string }): ServicePool {
    const pool = new ServicePool(name, label, shape, this, { there });
    this.#pools.set(name, pool);
    const { listener, keys } = this.#options;
    const stop = listener.admit(name, {
      keyOf: (secret) => (pool.knows(secret) ? keys.secret(secret) : undefined),
      take: (dialled) => pool.take(dialled),
    });
    this.#stopReceiving.set(name, stop);
    return pool;
  }

  get rules(): PoolRules {
    const { settleMs = 60_000, lingerMs, patienceMs } = this.#options;
    return { settleMs, lingerMs, patienceMs };
  }

  starting(): number {
    return startsOfMachine * Math.max(1, this.#nodes.filter(takesTasks).length);
  }

  nameOf(node: string): string {
    return this.#nodes.find(({ id }) => id === node)?.name ?? node;
  }

  gone(task: string): Promise<void> {
    return this.#departures.of(task);
  }

  exitCode(task: string, signal?: AbortSignal): Promise<number | undefined> {
    return exitCode(task, (ids) => tasksById(this.#managers, ids), signal);
  }

  async report(service: string, connected: ReadonlySet<string>, since: number): Promise<TaskReport> {
    return taskReport(await tasksOf(this.#managers, service), { connected, since, nameOf: (node) => this.nameOf(node) });
  }

  onLacking(shape: TaskShape, nodes: readonly string[]): void {
    const lacking = this.#nodes.filter(({ id }) => nodes.includes(id));
    this.#images.found(this.#shapes.imageOf(shape), lacking);
  }

  /** A pool finds no room: for a while the others keep nothing that nobody wants. */
  onPressure(): void {
    this.#pressureUntil = performance.now() + tendMs;
    for (const pool of this.#pools.values()) pool.press(true);
  }

  onTrouble(message: string): void {
    if (!this.#closing.signal.aborted) this.#options.onTrouble?.(message);
  }

  async prepare(name: string): Promise<PreparedImage> {
    await this.probe();
    return (await this.#shapes.prepare(name)).prepared;
  }

  async create(spec: SandboxSpec, signal?: AbortSignal): Promise<Sandbox> {
    signal?.throwIfAborted();
    if (spec.limits.network !== undefined) throw new KatafleetError('rsync.off', 'tasks of a swarm have no network for rsync');
    // Once: what waits can be given out while no manager answers.
    if (this.#nodes.length === 0) await this.probe();
    const shape = await this.#shapes.of(spec);
    signal?.throwIfAborted();
    if (this.#closing.signal.aborted) throw new KatafleetError('node.lost', 'the driver is closed');
    const { name, label } = this.#shapes.nameFor(spec.image.name, spec.limits);
    const pool = this.#pools.get(name) ?? this.#add(name, label, shape);
    pool.reshape(shape);
    pool.exclude(this.#images.lacking(this.#shapes.imageOf(shape)));
    return pool.create(spec, signal);
  }

  /** Other nodes lack an image, or it has another reference: its pools follow. */
  async #imageChanged(image: string): Promise<void> {
    try {
      const { reference } = await this.#shapes.prepare(image);
      for (const pool of this.#pools.values()) {
        if (!pool.shape || this.#shapes.imageOf(pool.shape) !== image) continue;
        pool.reshape({ ...pool.shape, image: reference });
        pool.exclude(this.#images.lacking(image));
      }
    } catch (error) {
      this.onTrouble(`${image.slice(7, 19)}: ${messageOf(error)}`);
    }
  }

  /** Of these tasks those that have ended, or whose node has gone, by the swarm's word. */
  async #over(ids: readonly string[]): Promise<string[]> {
    const found = await tasksById(this.#managers, ids);
    this.#nodes = await swarmNodes(this.#managers);
    const ready = new Set(this.#nodes.filter(({ state }) => state === 'ready').map(({ id }) => id));
    const living = found.filter(({ NodeID, Status }) => !isOver(Status.State) && ready.has(NodeID)).map(({ ID }) => ID);
    return ids.filter((id) => !living.includes(id));
  }

  /** What we handed out, and services of processes that may be gone; those of a deployment are looked after by {@link #lookAtServices}. */
  async list(): Promise<OwnedContainer[]> {
    const own = Array.from(this.#pools.values()).flatMap((pool) =>
      Array.from(pool.out, ({ id, labels: given }) => ({ id, labels: given })),
    );
    const passing = (await this.services.list()).filter(({ Spec }) => Spec.Labels?.[labels.deadline] !== undefined);
    return [
      ...own.map((one) => ({ ...one, running: true })),
      ...passing
        .filter(({ Spec }) => !this.#pools.has(Spec.Name))
        .map(({ Spec }) => ({ id: Spec.Name, running: true, labels: Spec.Labels ?? {} })),
    ];
  }

  async remove(id: string): Promise<void> {
    for (const pool of this.#pools.values()) {
      for (const sandbox of pool.out) if (sandbox.id === id) return sandbox.remove();
    }
    const service = (await this.services.list()).find(({ Spec }) => Spec.Name === id && Spec.Labels?.[labels.deadline] !== undefined);
    if (!service) return;
    await this.services.remove(id);
    await this.services.removeShared(service.Spec.Labels?.[labels.key]);
  }

  images(): Promise<NodeImage[]> {
    return this.#managers.ask((engine) => engine.images());
  }

  async ping(signal: AbortSignal): Promise<void> {
    await this.#managers.ask((engine) => engine.ping(signal));
  }

  async machines(): Promise<Machine[]> {
    this.#nodes = await swarmNodes(this.#managers);
    const counts = sandboxesByNode(this.#pools.values());
    return this.#nodes.map((node) => ({
      ...node,
      ...this.#leftovers.of(node.name),
      sandboxes: counts.get(node.id) ?? { idle: 0, busy: 0 },
    }));
  }

  setAvailability(machine: string, availability: Machine['availability']): Promise<void> {
    return setAvailability(this.#managers, machine, availability);
  }

  troubles(image: string, limits: SandboxLimits): Promise<string[]> {
    const pool = this.#pools.get(this.#shapes.nameFor(image, limits).name);
    const lacking = pool?.shape ? this.#images.lacking(this.#shapes.imageOf(pool.shape)).map((node) => this.nameOf(node)) : [];
    return Promise.resolve([
      ...(pool?.troubles ?? []),
      ...(lacking.length > 0 ? [`nothing is placed on ${lacking.join(', ')}, which lack the image`] : []),
    ]);
  }

  #relax(): void {
    if (performance.now() > this.#pressureUntil) for (const pool of this.#pools.values()) pool.press(false);
  }

  /** Secrets grow old. */
  #renew(): void {
    for (const pool of this.#pools.values())
      if (pool.shape) pool.reshape({ ...pool.shape, generation: this.#shapes.generation(pool.name) });
  }

  /** Services fall out of use, or somebody else has changed them; a katafleet that shared one may be gone. */
  async #lookAtServices(): Promise<void> {
    const there = new Map((await this.services.list()).map((service) => [service.Spec.Name, service]));
    for (const pool of this.#pools.values()) {
      const service = there.get(pool.name);
      const replicas = service ? replicasOf(service.Spec) : 0;
      const wanted = mergeWants(service?.Spec.Labels ?? {}, this.#options.instance, pool.told, Date.now()).replicas;
      if (wanted !== replicas) pool.tellAgain();
      else if (pool.idle && replicas === 0 && (!service || Date.now() - Date.parse(service.UpdatedAt) >= unusedMs)) await this.#drop(pool);
    }
  }

  async #drop(pool: ServicePool): Promise<void> {
    if (!(await pool.retire(() => this.services.remove(pool.name)))) return;
    this.#stopReceiving.get(pool.name)?.();
    this.#stopReceiving.delete(pool.name);
    this.#pools.delete(pool.name);
    await pool.close();
  }

  watchImages(changed: () => void, signal: AbortSignal): Promise<void> {
    return this.#managers.current.watchImages?.(changed, signal) ?? Promise.resolve();
  }

  archiveBytes(name: string): Promise<number | undefined> {
    return this.#managers.current.archiveBytes?.(name) ?? Promise.resolve(undefined);
  }

  exportImage(name: string): Promise<Readable> {
    const { exportImage } = this.#managers.current;
    if (!exportImage) throw new KatafleetError('internal', `${this.endpoint} hands out no images`);
    return exportImage.call(this.#managers.current, name);
  }

  /** To the manager, and from there to every node that can be reached. */
  async importImage(archive: Readable): Promise<void> {
    const { current } = this.#managers;
    const before = new Set((await current.images()).map(({ id }) => id));
    await current.importImage?.(archive);
    for (const { id } of await current.images()) {
      if (before.has(id)) continue;
      await this.#images.spread(id, this.#nodes.filter(takesTasks));
      this.#images.forget(id);
    }
  }

  removeImage(name: string): Promise<void> {
    return this.#managers.ask((engine) => engine.removeImage?.(name) ?? Promise.resolve());
  }

  disconnect(): void {
    for (const engine of this.#managers.engines) engine.disconnect();
  }

  /** Lets go of the tasks. They wait for the next katafleet, unless nobody comes after this process: then they are taken away. */
  async close(): Promise<void> {
    this.#closing.abort(new Error('the driver is closed'));
    this.#rounds.stop();
    for (const stop of this.#stopReceiving.values()) stop();
    await Promise.all(Array.from(this.#pools.values(), (pool) => pool.close()));
    try {
      if (this.#options.ephemeral && this.#pools.size > 0) await this.#takeAway();
    } finally {
      for (const engine of this.#managers.engines) await engine.close();
      for (const worker of this.#options.workers) await worker.close();
    }
  }

  async #takeAway(): Promise<void> {
    const removals = await Promise.allSettled(Array.from(this.#pools.keys(), (name) => this.services.remove(name)));
    await this.services.removeShared();
    for (const removal of removals) if (removal.status === 'rejected') throw removal.reason;
  }
}
