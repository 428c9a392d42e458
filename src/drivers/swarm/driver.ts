import { createHash } from 'node:crypto';
import type { Readable } from 'node:stream';
import { z } from 'zod';
import { KatafleetError, messageOf } from '../../core/errors.ts';
import { labels } from '../../core/labels.ts';
import { poolKey, type SandboxLimits } from '../../core/profile.ts';
import type { Driver, Fingerprint, NodeImage, NodeMember, OwnedContainer, PreparedImage, Sandbox, SandboxSpec } from '../contract.ts';
import { supervisorBinary } from '../supervisor.ts';
import { hostAndPort, ownAddress } from './advertise.ts';
import { SwarmImages } from './images.ts';
import type { SwarmKeys } from './keys.ts';
import { Leftovers } from './leftovers.ts';
import type { Listener } from './listener.ts';
import { type ManagerEngine, Managers } from './managers.ts';
import { setAvailability, swarmFingerprint, swarmNodes, takesTasks } from './nodes.ts';
import { type PoolContext, ServicePool } from './pool.ts';
import { pullEverywhere } from './pull.ts';
import { isOurPool } from './replicas.ts';
import type { TaskShape, Way } from './service.ts';
import { poolLabels, Services } from './services.ts';
import { Task, type TaskReport, taskReport } from './tasks.ts';

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
  /** How the tasks of a profile are connected that does not say. */
  dial: Way;
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
/** A service without replicas that nobody asked for is removed after so long, ms. */
const unusedMs = 24 * 3_600_000;
const [goneLookMs, goneMs] = [1_000, 120_000];
/** The name by which a katafleet that is a task of the swarm is found on the overlay, see stacks/swarm.yaml. */
const overlayName = 'katafleet';
const over = ['complete', 'failed', 'rejected', 'shutdown', 'orphaned', 'remove'];

/**
 * A swarm, by its managers' API alone: for each image and limits a service of single-use sandboxes that dial us. The swarm
 * places them, replaces what has served, and moves what was lost; we only say how many.
 */
export class SwarmDriver implements Driver {
  readonly kind = 'swarm';
  readonly endpoint: string;
  /** Sandboxes live on when no manager answers. */
  readonly independent = true;
  /** The swarm itself shares out what is started. */
  readonly starts = 256;
  readonly #options: SwarmDriverOptions;
  readonly #managers: Managers;
  readonly #services: Services;
  readonly #images: SwarmImages;
  readonly #leftovers: Leftovers;
  readonly #pools = new Map<string, ServicePool>();
  readonly #admissions = new Map<string, () => void>();
  /** Image ids by what tasks call them. */
  readonly #ids = new Map<string, string>();
  readonly #closing = new AbortController();
  #nodes: NodeMember[] = [];
  #probed: Promise<Fingerprint> | undefined;
  #appArmor = false;
  #adopted = false;
  #addresses = new Map<Way, Promise<string>>();
  #tending: NodeJS.Timeout | undefined;
  #pressureUntil = 0;

  constructor(options: SwarmDriverOptions) {
    this.#options = options;
    const { managers, keys, stack, instance, ephemeral, network, workers, registry } = options;
    this.#managers = new Managers(managers);
    this.endpoint = managers[0].endpoint;
    this.#services = new Services({ managers: this.#managers, keys, stack, instance, ephemeral, network });
    const onTrouble = (message: string) => this.#trouble(message);
    this.#leftovers = new Leftovers(stack, workers);
    this.#images = new SwarmImages({
      managers: this.#managers,
      workers,
      registry,
      pull: (reference, architecture) => pullEverywhere(this.#managers, this.#services, reference, architecture, this.#closing.signal),
      onChange: (image) => void this.#imageChanged(image),
      onTrouble,
    });
  }

  #trouble(message: string): void {
    if (!this.#closing.signal.aborted) this.#options.onTrouble?.(message);
  }

  probe(): Promise<Fingerprint> {
    this.#probed ??= this.#probe().catch((error: unknown) => {
      this.#probed = undefined;
      throw error;
    });
    return this.#probed;
  }

  async #probe(): Promise<Fingerprint> {
    const manager = await this.#managers.ask((engine) => engine.probe());
    this.#nodes = await swarmNodes(this.#managers);
    this.#appArmor = await this.#managers.do('ask for the security options', async (docker) => {
      const { SecurityOptions } = (await docker.info()) as { SecurityOptions?: string[] | null };
      return (SecurityOptions ?? []).some((option) => option.includes('apparmor'));
    });
    await this.#adopt();
    return swarmFingerprint(manager, this.#nodes);
  }

  forget(): void {
    this.#probed = undefined;
    this.#addresses.clear();
    for (const engine of this.#managers.engines) engine.forget();
  }

  /** Services that an earlier katafleet of this deployment left: their tasks are ours now. */
  async #adopt(): Promise<void> {
    this.#tending ??= setInterval(() => void this.#tend(), tendMs).unref();
    if (this.#adopted || this.#options.ephemeral) return;
    const { stack, keys } = this.#options;
    let strangers = 0;
    for (const { Spec } of await this.#services.list()) {
      const own = Spec.Labels ?? {};
      const [hash, label] = [own[poolLabels.shape], own[poolLabels.pool]];
      if (!isOurPool(own, stack, keys.id) || hash === undefined || label === undefined) {
        if (own[labels.deadline] === undefined) strangers += 1;
        continue;
      }
      if (!this.#pools.has(Spec.Name)) this.#add(Spec.Name, label, undefined, { replicas: Spec.Mode.Replicated?.Replicas ?? 0, hash });
    }
    this.#adopted = true;
    if (strangers > 0)
      this.#trouble(`${strangers} services of another key are in the swarm: katafleet undeploy takes away what an old deployment has left`);
  }

  #add(name: string, label: string, shape: TaskShape | undefined, there?: { replicas: number; hash: string }): ServicePool {
    const pool = new ServicePool(name, label, shape, this.#context, there);
    this.#pools.set(name, pool);
    const { listener, keys } = this.#options;
    const stop = listener.admit(name, {
      keyOf: (secret) => (pool.knows(secret) ? keys.secret(secret) : undefined),
      take: (dialled) => pool.take(dialled),
    });
    this.#admissions.set(name, stop);
    return pool;
  }

  get #context(): PoolContext {
    return {
      services: this.#services,
      settleMs: this.#options.settleMs ?? 60_000,
      lingerMs: this.#options.lingerMs,
      patienceMs: this.#options.patienceMs,
      nameOf: (node) => this.#nameOf(node),
      gone: (task) => this.#gone(task),
      report: (service, connected, since) => this.#report(service, connected, since),
      onLacking: ({ image }, nodes) => {
        const lacking = this.#nodes.filter(({ id }) => nodes.includes(id));
        this.#images.found(this.#ids.get(image) ?? image, lacking);
      },
      onPressure: () => this.#press(),
      onTrouble: (message) => this.#trouble(message),
    };
  }

  #nameOf(node: string): string {
    return this.#nodes.find(({ id }) => id === node)?.name ?? node;
  }

  async prepare(name: string): Promise<PreparedImage> {
    return (await this.#prepare(name)).prepared;
  }

  async #prepare(name: string) {
    await this.probe();
    const image = await this.#images.prepare(name, this.#nodes.length > 1);
    this.#ids.set(image.reference, image.prepared.id);
    return image;
  }

  async create(spec: SandboxSpec, signal?: AbortSignal): Promise<Sandbox> {
    signal?.throwIfAborted();
    if (spec.limits.network !== undefined) throw new KatafleetError('rsync.off', 'tasks of a swarm have no network for rsync');
    const shape = await this.#shape(spec);
    signal?.throwIfAborted();
    const { name, label } = this.#nameFor(spec.image.name, spec.limits);
    const pool = this.#pools.get(name) ?? this.#add(name, label, shape);
    pool.reshape(shape);
    return pool.create(spec, signal);
  }

  /** The same for every katafleet of a deployment, so that a restarted one finds its pools. */
  #nameFor(image: string, limits: SandboxLimits): { name: string; label: string } {
    const { stack, keys, ephemeral, instance } = this.#options;
    const of = [stack, keys.id, ephemeral ? instance : '', poolKey(image, limits)];
    const digest = createHash('sha256').update(JSON.stringify(of)).digest('hex').slice(0, 12);
    // A secret's name is at most 64 characters, and its service's begins it.
    const room = Math.max(0, 64 - 13 - stack.length - 1 - digest.length - 1);
    const word = image
      .replace(/:latest$/, '')
      .replace(/[^A-Za-z0-9]+/g, '-')
      .slice(0, room)
      .replace(/^-+|-+$/g, '');
    return { name: [stack, word, digest].filter((part) => part !== '').join('-'), label: JSON.stringify({ image, limits }) };
  }

  async #shape({ image, limits, idleMs }: SandboxSpec): Promise<TaskShape> {
    const { architecture, reference } = await this.#prepared(image);
    const way = limits.dial ?? this.#options.dial;
    const { sha256 } = await supervisorBinary(architecture);
    const { rotateMs, stack } = this.#options;
    // Every service has its own moment, so that they don't all start anew at once.
    const offset = parseInt(createHash('sha256').update(`${stack}${image.name}`).digest('hex').slice(0, 8), 16) / 2 ** 32;
    const generation = rotateMs === undefined ? '0' : String(Math.floor(Date.now() / rotateMs + offset));
    return {
      ...{ image: reference, architecture, volumes: image.volumes, limits, way, address: await this.#address(way), supervisor: sha256 },
      ...{ idleMs, generation, appArmor: this.#appArmor },
    };
  }

  readonly #known = new Map<string, { architecture: 'amd64' | 'arm64'; reference: string }>();

  async #prepared({ id }: PreparedImage): Promise<{ architecture: 'amd64' | 'arm64'; reference: string }> {
    const known = this.#known.get(id);
    if (known) return known;
    const { architecture, reference } = await this.#prepare(id);
    this.#known.set(id, { architecture, reference });
    return { architecture, reference };
  }

  #address(way: Way): Promise<string> {
    let address = this.#addresses.get(way);
    if (!address) {
      address = this.#find(way);
      address.catch(() => this.#addresses.delete(way));
      this.#addresses.set(way, address);
    }
    return address;
  }

  async #find(way: Way): Promise<string> {
    const { advertise, dial, listener } = this.#options;
    const port = await listener.ready();
    if (advertise !== undefined && way === dial) return advertise;
    return hostAndPort(way === 'overlay' ? overlayName : await ownAddress(this.#managers), port);
  }

  /** Other nodes lack an image, or it has another reference: its pools follow. */
  async #imageChanged(image: string): Promise<void> {
    try {
      this.#known.delete(image);
      const { reference } = await this.#prepare(image);
      for (const pool of this.#pools.values()) {
        if (!pool.shape || this.#ids.get(pool.shape.image) !== image) continue;
        pool.reshape({ ...pool.shape, image: reference });
        pool.exclude(this.#images.lacking(image));
      }
    } catch (error) {
      this.#trouble(`${image.slice(7, 19)}: ${messageOf(error)}`);
    }
  }

  /** A pool finds no room: for a while the others keep nothing that nobody wants. */
  #press(): void {
    this.#pressureUntil = performance.now() + tendMs;
    for (const pool of this.#pools.values()) pool.press(true);
  }

  #report(service: string, connected: ReadonlySet<string>, since: number): Promise<TaskReport> {
    return this.#managers.do('ask for tasks', async (docker) => {
      const tasks = z.array(Task).parse(await docker.listTasks({ filters: JSON.stringify({ service: [service] }) }));
      return taskReport(tasks, { connected, since, nameOf: (node) => this.#nameOf(node) });
    });
  }

  /** Resolves when the swarm says that a task has ended or its node has gone. @throws engine.timeout when it says neither */
  async #gone(task: string): Promise<void> {
    const until = performance.now() + goneMs;
    while (!this.#closing.signal.aborted) {
      try {
        const found = await this.#managers.do('ask for a task', async (docker) =>
          z.array(Task).parse(await docker.listTasks({ filters: JSON.stringify({ id: [task] }) })),
        );
        const [one] = found.filter(({ ID }) => ID === task);
        if (!one || over.includes(one.Status.State)) return;
        this.#nodes = await swarmNodes(this.#managers);
        const node = this.#nodes.find(({ id }) => id === one.NodeID);
        if (!node || node.state !== 'ready') return;
      } catch (error) {
        if (performance.now() > until) throw error;
      }
      if (performance.now() > until) throw new KatafleetError('engine.timeout', `the swarm does not say that the task ${task} has ended`);
      await new Promise((resolve) => setTimeout(resolve, goneLookMs));
    }
  }

  /** What we handed out, and services of processes that may be gone; those of a deployment are looked after by {@link #tend}. */
  async list(): Promise<OwnedContainer[]> {
    const own = Array.from(this.#pools.values()).flatMap((pool) =>
      Array.from(pool.out, ({ id, labels: given }) => ({ id, labels: given })),
    );
    const passing = (await this.#services.list()).filter(({ Spec }) => Spec.Labels?.[labels.deadline] !== undefined);
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
    const service = (await this.#services.list()).find(({ Spec }) => Spec.Name === id && Spec.Labels?.[labels.deadline] !== undefined);
    if (service) await this.#services.remove(id);
  }

  images(): Promise<NodeImage[]> {
    return this.#managers.ask((engine) => engine.images());
  }

  async ping(signal: AbortSignal): Promise<void> {
    await this.#managers.ask((engine) => engine.ping(signal));
  }

  async members(): Promise<NodeMember[]> {
    this.#nodes = await swarmNodes(this.#managers);
    const counts = new Map(this.#nodes.map(({ id }) => [id, { idle: 0, busy: 0 }]));
    for (const pool of this.#pools.values()) {
      for (const { node } of pool.spares) count(counts.get(node), 'idle');
      for (const { dialled } of pool.out) count(counts.get(dialled.node), dialled.stream.spokenTo ? 'busy' : 'idle');
    }
    return this.#nodes.map((node) => ({
      ...node,
      ...this.#leftovers.of(node.name),
      sandboxes: counts.get(node.id) ?? { idle: 0, busy: 0 },
    }));
  }

  setAvailability(member: string, availability: NodeMember['availability']): Promise<void> {
    return setAvailability(this.#managers, member, availability);
  }

  troubles(image: string, limits: SandboxLimits): Promise<string[]> {
    const { name } = this.#nameFor(image, limits);
    const id = this.#ids.get(this.#pools.get(name)?.shape?.image ?? '') ?? '';
    const lacking = this.#images.lacking(id).map((node) => this.#nameOf(node));
    return Promise.resolve([
      ...(this.#pools.get(name)?.troubles ?? []),
      ...(lacking.length > 0 ? [`nothing is placed on ${lacking.join(', ')}, which lack the image`] : []),
    ]);
  }

  /** Secrets grow old, services fall out of use, nodes get images, and old engines leave containers behind. */
  async #tend(): Promise<void> {
    try {
      if (performance.now() > this.#pressureUntil) for (const pool of this.#pools.values()) pool.press(false);
      this.#images.forget();
      for (const pool of this.#pools.values()) {
        if (pool.shape) pool.reshape({ ...pool.shape, ...(await this.#renewed(pool)) });
      }
      await this.#dropUnused();
      await this.#leftovers.sweep();
    } catch (error) {
      this.#trouble(`the services could not be looked after: ${messageOf(error)}`);
    }
  }

  async #renewed({ label, shape }: ServicePool): Promise<Partial<TaskShape>> {
    if (!shape) return {};
    const { image } = z.object({ image: z.string() }).parse(JSON.parse(label));
    const { generation } = await this.#shape({
      ...{ name: '', labels: {}, limits: shape.limits, idleMs: shape.idleMs },
      image: { name: image, id: this.#ids.get(shape.image) ?? shape.image, volumes: shape.volumes },
    });
    return { generation };
  }

  async #dropUnused(): Promise<void> {
    for (const { Spec, UpdatedAt } of await this.#services.list()) {
      const pool = this.#pools.get(Spec.Name);
      if (!pool?.idle || (Spec.Mode.Replicated?.Replicas ?? 0) > 0 || Date.now() - Date.parse(UpdatedAt) < unusedMs) continue;
      await this.#drop(pool);
    }
  }

  async #drop(pool: ServicePool): Promise<void> {
    this.#admissions.get(pool.name)?.();
    this.#admissions.delete(pool.name);
    this.#pools.delete(pool.name);
    await pool.close();
    await this.#services.remove(pool.name);
  }

  watchImages(changed: () => void, signal: AbortSignal): Promise<void> {
    return this.#managers.current.watchImages?.(changed, signal) ?? Promise.resolve();
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
    clearInterval(this.#tending);
    for (const stop of this.#admissions.values()) stop();
    await Promise.all(Array.from(this.#pools.values(), (pool) => pool.close()));
    if (this.#options.ephemeral) {
      for (const { name } of this.#pools.values()) await this.#services.remove(name);
      if (this.#pools.size > 0) await this.#services.removeShared();
    }
    for (const engine of this.#managers.engines) await engine.close();
    for (const worker of this.#options.workers) await worker.close();
  }
}

function count(of: { idle: number; busy: number } | undefined, what: 'idle' | 'busy'): void {
  if (of) of[what] += 1;
}
