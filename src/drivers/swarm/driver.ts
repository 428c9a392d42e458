import type { Readable } from 'node:stream';
import { Memo } from '../../base/memo.ts';
import { KatafleetError, messageOf } from '../../model/errors.ts';
import type { Machine } from '../../model/node.ts';
import type { SandboxLimits } from '../../model/profile.ts';
import type { Driver, Fingerprint, NodeImage, OwnedContainer, PreparedImage, Sandbox, SandboxSpec } from '../contract.ts';
import { takesTasks } from '../machines.ts';
import type { SwarmDriverOptions } from './options.ts';
import { Departures } from './demand/departures.ts';
import { exitCode } from './exit-code.ts';
import { SwarmImages } from './nodes/images.ts';
import { Leftovers } from './nodes/leftovers.ts';
import { Managers } from './nodes/managers.ts';
import { setAvailability, swarmFingerprint, swarmNodes } from './nodes/nodes.ts';
import { ServicePools } from './demand/pools.ts';
import { sandboxesByNode } from './demand/dialled-tasks.ts';
import type { PoolRules } from './demand/pool-state.ts';
import type { SwarmSide } from './demand/swarm-side.ts';
import { pullEverywhere } from './nodes/pull.ts';
import { Rounds } from './nodes/rounds.ts';
import type { TaskShape } from './services/service.ts';
import { Services } from './services/services.ts';
import { Shapes } from './services/shapes.ts';
import { isOver } from '../docker/task-states.ts';
import { type TaskReport, taskReport, tasksById, tasksOf } from './demand/tasks.ts';

/** How often the driver checks its services (ms). */
const tendMs = 30_000;
/** How many tasks a machine can start at once and still answer calls. */
const startsOfMachine = 8;

/**
 * Serves a swarm through its managers' API alone. For each image and limits there is a service of single-use sandboxes that dial
 * katafleet. The swarm places the tasks, replaces those that have served and moves those that were lost; the driver sets their number.
 */
export class SwarmDriver implements Driver, SwarmSide {
  readonly kind = 'swarm';
  readonly endpoint: string;
  /** Sandboxes keep running if no manager answers. */
  readonly independent = true;
  /** The swarm itself distributes the starts over its machines. */
  readonly starts = 256;
  readonly #options: SwarmDriverOptions;
  readonly #managers: Managers;
  readonly services: Services;
  readonly #images: SwarmImages;
  readonly #leftovers: Leftovers;
  readonly #shapes: Shapes;
  readonly #pools: ServicePools;
  readonly #closing = new AbortController();
  readonly #rounds: Rounds;
  readonly #departures = new Departures({ endedOf: (tasks) => this.#endedTasks(tasks), signal: this.#closing.signal });
  #nodes: Machine[] = [];
  readonly #probed = new Memo(() => this.#probe());
  #pressureUntil = 0;

  constructor(options: SwarmDriverOptions) {
    this.#options = options;
    const { managers, keys, stack, instance, ephemeral, network, workers, registry } = options;
    this.#managers = new Managers(managers);
    this.endpoint = managers[0].endpoint;
    this.services = new Services({ managers: this.#managers, keys, stack, instance, ephemeral, network });
    const { signal: closing } = this.#closing;
    this.#pools = new ServicePools({
      swarm: this,
      listener: options.listener,
      keys,
      stack,
      instance,
      ephemeral: ephemeral !== undefined,
      closing,
    });
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
      'the services could not be looked after': () => this.#pools.tend(),
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
    this.#rounds.start();
    await this.#pools.adopt();
    return swarmFingerprint(manager, this.#nodes);
  }

  forget(): void {
    this.#probed.forget();
    this.#shapes.forget();
    for (const engine of this.#managers.engines) engine.forget();
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

  /** Called if a pool finds no room: the other pools then end their unused tasks at once, for a while. */
  onPressure(): void {
    this.#pressureUntil = performance.now() + tendMs;
    this.#pools.press(true);
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
    // Only once: spare tasks can be handed out while no manager answers.
    if (this.#nodes.length === 0) await this.probe();
    const shape = await this.#shapes.of(spec);
    signal?.throwIfAborted();
    if (this.#closing.signal.aborted) throw new KatafleetError('node.lost', 'the driver is closed');
    const { name, label } = this.#shapes.nameFor(spec.image.name, spec.limits);
    const pool = this.#pools.get(name) ?? this.#pools.add(name, label, shape);
    pool.reshape(shape);
    pool.exclude(this.#images.lacking(this.#shapes.imageOf(shape)));
    return pool.create(spec, signal);
  }

  /** Updates the pools of an image after its reference, or the nodes that lack it, have changed. */
  async #imageChanged(image: string): Promise<void> {
    try {
      const { reference } = await this.#shapes.prepare(image);
      for (const pool of this.#pools) {
        if (!pool.shape || this.#shapes.imageOf(pool.shape) !== image) continue;
        pool.reshape({ ...pool.shape, image: reference });
        pool.exclude(this.#images.lacking(image));
      }
    } catch (error) {
      this.onTrouble(`${image.slice(7, 19)}: ${messageOf(error)}`);
    }
  }

  /** Returns the tasks that have ended or whose node is not ready, as the swarm reports it. */
  async #endedTasks(ids: readonly string[]): Promise<string[]> {
    const found = await tasksById(this.#managers, ids);
    this.#nodes = await swarmNodes(this.#managers);
    const ready = new Set(this.#nodes.filter(({ state }) => state === 'ready').map(({ id }) => id));
    const living = found.filter(({ NodeID, Status }) => !isOver(Status.State) && ready.has(NodeID)).map(({ ID }) => ID);
    return ids.filter((id) => !living.includes(id));
  }

  /** Lists sandboxes that are handed out, and services of processes that may have ended. */
  list(): Promise<OwnedContainer[]> {
    return this.#pools.list();
  }

  remove(id: string): Promise<void> {
    return this.#pools.remove(id);
  }

  images(): Promise<NodeImage[]> {
    return this.#managers.ask((engine) => engine.images());
  }

  async ping(signal: AbortSignal): Promise<void> {
    await this.#managers.ask((engine) => engine.ping(signal));
  }

  async identify(signal: AbortSignal): Promise<Fingerprint> {
    return swarmFingerprint(await this.#managers.ask((engine) => engine.identify?.(signal) ?? engine.probe()), this.#nodes);
  }

  async machines(): Promise<Machine[]> {
    this.#nodes = await swarmNodes(this.#managers);
    const counts = sandboxesByNode(this.#pools);
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
    if (performance.now() > this.#pressureUntil) this.#pools.press(false);
  }

  /** Gives services a new secret when theirs is old enough. */
  #renew(): void {
    for (const pool of this.#pools) if (pool.shape) pool.reshape({ ...pool.shape, generation: this.#shapes.generation(pool.name) });
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

  /** Imports into the manager's engine, then copies to every node whose engine can be reached. */
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

  /** Disconnects the tasks, which wait for the next katafleet. Removes ephemeral services. */
  async close(): Promise<void> {
    this.#closing.abort(new Error('the driver is closed'));
    this.#rounds.stop();
    await this.#pools.close();
    try {
      if (this.#options.ephemeral && this.#pools.size > 0) await this.#pools.removeAll();
    } finally {
      for (const engine of this.#managers.engines) await engine.close();
      for (const worker of this.#options.workers) await worker.close();
    }
  }
}
