import { Memo } from '../base/memo.ts';
import { KatafleetError } from '../model/errors.ts';
import { canonicalImage } from '../model/image-name.ts';
import { type Profile, profileOf, sandboxLimits } from '../model/profile.ts';
import type { RunResult } from '../model/result.ts';
import { defaultUids, type Uids } from '../model/users.ts';
import { UidBook } from '../fleet/node/uids.ts';
import type { PreparedImage } from '../drivers/contract.ts';
import { EndpointDriver } from '../drivers/endpoint-driver.ts';
import type { EngineDriver } from '../drivers/engine/driver.ts';
import { connectEndpoint, registry, type DriverSurroundings } from '../drivers/registry.ts';
import { SwarmConnector, type SwarmOptions } from './swarm.ts';
import type { NodeChange } from '../fleet/changes.ts';
import { Fleet } from '../fleet/fleet.ts';
import type { MembersOptions } from '../fleet/members.ts';
import type { NodeSettings } from '../fleet/node/settings.ts';
import type { JournalIdentity } from '../fleet/upkeep/reaper.ts';
import { deliver, type DeliverOptions, type Delivery } from '../images/deliver.ts';
import { measured, type PlannedStep, planDistribution, type Wish } from '../images/distribute.ts';
import { buildImages, type ImageEvents } from '../images/pipeline.ts';
import { Rsync, type RsyncOptions } from '../rsync/rsync.ts';
import { defaultOptions } from './defaults.ts';
import { localNode } from './local-node.ts';
import { Dispatcher } from '../runs/dispatcher.ts';
import type { DispatcherOptions } from '../runs/dispatcher-options.ts';
import { requestFrom, type RunInput } from '../model/run-input.ts';
import { checkJob } from '../runs/job.ts';
import { transfersWith } from '../runs/attempt/rsync-transfer.ts';
import type { SessionLimits } from '../runs/sessions/sessions.ts';
import type { Recorder } from '../runs/life/records.ts';
import { MemoryStore } from '../runs/memory-store.ts';
import { type RunJournal, RunService } from '../runs/service.ts';
import type { RunServiceOptions, RunThrough } from '../runs/service-options.ts';
import type { PoolBounds } from '../scheduler/targets.ts';
import type { Policy } from '../scheduler/place/placement.ts';
import type { QueueLimits } from '../scheduler/queue/queue.ts';

export { KatafleetError, type ErrorCode } from '../model/errors.ts';
export type { Light, LightRules } from '../model/lights.ts';
export { omittedBytes, shownOutput } from '../model/output.ts';
export { Placing } from '../model/placing.ts';
export { Profile } from '../model/profile.ts';
export type * from '../model/outcome.ts';
export type * from '../model/request.ts';
export type * from '../model/result.ts';
export type { NodeSettings, NodeSettings as MemberSettings } from '../fleet/node/settings.ts';
export type { FleetImage } from '../model/fleet-image.ts';
export type { NodeSummary } from '../model/node.ts';
export type { FileInput, RunInput } from '../model/run-input.ts';
export type { RunThrough as RunOptions } from '../runs/service-options.ts';

export interface KatafleetOptions {
  /** `unix://`, `tcp://` or `ssh://` of a single node; DOCKER_HOST or the default socket if absent. */
  endpoint?: string;
  /** Folder with ca.pem, cert.pem and key.pem for tcp:// with TLS; DOCKER_CERT_PATH if absent. */
  certPath?: string;
  /** Several nodes, in place of `endpoint`. */
  nodes?: readonly NodeSettings[];
  /** Bounds of each pool on each node, unless `warm` has set them; no idle sandboxes if absent. */
  pool?: PoolBounds;
  /** Sandboxes that start at once on a node, unless its settings say; twice its CPUs if absent. */
  startParallelism?: number;
  /** How long an idle sandbox waits before it ends and is replaced, ms. */
  idleMs?: number;
  /** Bytes that an idle sandbox books of its node's memory; 16 MiB if absent. */
  idleMemory?: number;
  policy?: Policy;
  /** Bounds of the queue; if absent 10,000 runs, 5,000 of a tenant, and a share of this process's memory. */
  queue?: QueueLimits;
  /** Bounds of the sandboxes that sessions keep; if absent 100, 50 of a tenant, each for 10 minutes without use and an hour in all. */
  sessions?: SessionLimits;
  /** How often a run is tried if its node is lost; 3 if absent. */
  attempts?: number;
  /** How long a node may take to make a sandbox for a run before another node is tried, ms; a minute if absent. */
  acquireMs?: number;
  /** Whether runs wait for nodes that are down; if absent they are refused when no node is up. */
  patient?: boolean;
  /**
   * How nodes are checked; if absent every 2 s, 2 s for an answer, a minute for the start of a sandbox, down after 3 failures in a row,
   * ready again after 2 successes.
   */
  health?: { intervalMs: number; timeoutMs: number; startMs?: number; failures: number; successes: number };
  /** How long a node must be down, or back, before its share of the idle sandboxes moves, ms; 0 if absent. */
  awayMs?: number;
  /** Whether images are copied from nodes that have them to nodes that lack them; true if absent. */
  copy?: boolean;
  /** How long a container past its deadline may stay on a node, ms; a minute if absent. */
  graceMs?: number;
  /** The uids of sandboxes: each sandbox of a machine has one of its own. The default range if absent. */
  uids?: Uids;
  /** Lets runs name a folder that is fetched by rsync; `network` is the Docker network of their sandboxes. */
  rsync?: Omit<RsyncOptions, 'onTrouble'> & { network: string };
  /** How tasks of a swarm reach this katafleet, and what it is called there. */
  swarm?: SwarmOptions;
  /** Folder in which the next process finds what was costly to find out; nothing is kept if absent. */
  cache?: string;
  journal?: JournalIdentity;
  onTrouble?: (message: string) => void;
  onEvent?: (node: string, kind: string, detail: string) => void;
  /** Called when katafleet itself changes a user's decision about a node: it learns the machine, or another machine has the name. */
  onDecision?: MembersOptions['onDecision'];
}

/** A node that stays up for this long stops counting as flapping, ms. */
const flapMs = 60_000;

/** Runs other people's code on a fleet of nodes. Closing it removes its idle sandboxes. */
export class Katafleet implements AsyncDisposable {
  readonly fleet: Fleet;
  /** Modules of the rsync daemon; undefined if rsync is off. */
  readonly rsync: Rsync | undefined;
  readonly #options: KatafleetOptions;
  readonly #swarm: SwarmConnector;
  #runs: RunService | undefined;
  readonly #ready = new Memo(() => this.#open());

  /** Connects to nothing yet. @throws endpoint.invalid */
  constructor(options: KatafleetOptions = {}) {
    this.#options = options;
    const { rsync, onTrouble } = options;
    this.rsync = rsync && new Rsync({ ...rsync, ...(onTrouble ? { onTrouble } : {}) });
    this.#swarm = new SwarmConnector(options.swarm ?? {}, options);
    const surroundings: DriverSurroundings = {
      uids: options.uids ?? defaultUids,
      rsyncNetwork: rsync?.network,
      cache: options.cache,
      swarmOf: (engine, settings) => this.#swarm.driver(engine, settings),
    };
    const usual = defaultOptions();
    const { health = usual.health } = options;
    this.fleet = new Fleet({
      ...options,
      nodes: this.#settingsOf(options.nodes ?? [localNode(options)]),
      policy: options.policy ?? usual.policy,
      idleMemory: options.idleMemory ?? usual.idleMemory,
      copy: options.copy ?? usual.copy,
      graceMs: options.graceMs ?? usual.graceMs,
      rules: { ...health, flapMs },
      uids: new UidBook(options.uids ?? defaultUids),
      connect: (settings) => connectEndpoint(settings, surroundings),
    });
  }

  /** Fills in what the options say for all nodes. */
  #settingsOf(nodes: readonly NodeSettings[]): NodeSettings[] {
    const { startParallelism } = this.#options;
    return nodes.map((node) => ({ ...(startParallelism === undefined ? {} : { starts: startParallelism }), ...node }));
  }

  /** Takes other nodes, and other settings of nodes, while it serves, see {@link Fleet.reconfigure}. */
  reconfigure(nodes: readonly NodeSettings[]): NodeChange[] {
    return this.fleet.reconfigure(this.#settingsOf(nodes));
  }

  /** The driver of the first node that has an Engine API. @throws driver.unavailable */
  get driver(): EngineDriver {
    for (const { driver } of this.fleet.all) {
      if (driver instanceof EndpointDriver && registry[driver.kind].abilities.engineApi) return driver.engine;
    }
    throw new KatafleetError('driver.unavailable', 'no node has an Engine API: all are served by their docker command over ssh', {
      hint: 'work that needs the Engine API, such as building images, needs a node with Docker 1.12 or later (18.09 over ssh)',
    });
  }

  /** Makes the service of this fleet's runs over a store. Call it once at most. */
  serviceOver(store: RunJournal, options: RunServiceOptions = {}, memory: Pick<DispatcherOptions, 'results' | 'output'> = {}): RunService {
    this.#runs = new RunService(store, (recorder) => this.#dispatcherFor(recorder, memory), options);
    return this.#runs;
  }

  #dispatcherFor(recorder: Recorder, memory: Pick<DispatcherOptions, 'results' | 'output'>): Dispatcher {
    const { policy, queue, attempts, acquireMs, sessions, idleMemory, patient = false } = this.#options;
    const usual = defaultOptions();
    return new Dispatcher(this.fleet, {
      limits: queue ?? usual.queue,
      policy: policy ?? usual.policy,
      attempts: attempts ?? usual.attempts,
      acquireMs: acquireMs ?? usual.acquireMs,
      sessions: sessions ?? usual.sessions,
      idleMemory: idleMemory ?? usual.idleMemory,
      patient,
      recorder,
      ...memory,
      transfers: transfersWith(this.rsync),
    });
  }

  /** The service of this fleet's runs: over a store in memory, unless {@link serviceOver} has made one. */
  get runs(): RunService {
    return (this.#runs ??= this.serviceOver(new MemoryStore()));
  }

  /** Probes the nodes, and removes what katafleets that have died left on them. @throws the first node's engine.* if none is ready */
  open(): Promise<void> {
    return this.#ready.get();
  }

  async #open(): Promise<void> {
    await this.fleet.open();
    if (this.fleet.all.some(({ state }) => state === 'ready')) return;
    throw this.fleet.trouble ?? new KatafleetError('engine.unreachable', 'no node is ready');
  }

  /** Runs and returns the result. A program that fails, hangs or eats all memory is an outcome. @throws KatafleetError for all else, see {@link RunService.run} */
  async run(request: RunInput, options: RunThrough = {}): Promise<RunResult> {
    const asked = requestFrom(request);
    checkJob(asked, options.placing);
    await this.open();
    return this.runs.run(asked, options);
  }

  /** Keeps `idle` sandboxes of an image ready, over all nodes. Resolves when they are. @throws KatafleetError, the signal's reason */
  async warm(image: string, idle: number, profile: Partial<Profile> = {}, signal?: AbortSignal): Promise<void> {
    if (!Number.isInteger(idle) || idle < 0)
      throw new KatafleetError('limits.invalid', `idle: expected a whole number of sandboxes, got ${idle}`);
    await this.open();
    const job = checkJob({ image, files: [], steps: [{ argv: ['true'] }], profile });
    await this.runs.dispatcher.prepare(job);
    this.fleet.want({ image: job.image, limits: job.limits, idle: { min: idle, max: idle } });
    const pools = await this.fleet.retarget();
    await Promise.all(pools.map((pool) => pool.filled(signal)));
  }

  /** Returns how many idle sandboxes of an image and profile there are now. */
  async idle(image: string, profile: Partial<Profile> = {}): Promise<number> {
    await this.open();
    const limits = sandboxLimits(profileOf(profile));
    return this.fleet.all.reduce((sum, { sandboxes }) => sum + sandboxes.idleOf(canonicalImage(image), limits), 0);
  }

  /** Returns the commands that run in an image if none is given: its recipe's, and its own ENTRYPOINT and CMD. @throws image.unknown */
  async commandsOf(image: string): Promise<Pick<PreparedImage, 'command' | 'imageCommand'>> {
    await this.open();
    const name = canonicalImage(image);
    await this.fleet.findImage(name);
    const node = this.fleet.all.find(({ sandboxes }) => sandboxes.imageId(name) !== undefined) ?? this.fleet.all[0];
    return (await node?.sandboxes.image(name)) ?? {};
  }

  /** Returns the command of the image's recipe, which runs if none is given. @throws image.unknown */
  async command(image: string): Promise<readonly string[] | undefined> {
    return (await this.commandsOf(image)).command;
  }

  /** Builds, proves and tags the named recipes, or all, on the first node. @throws recipe.*, build.failed, proof.failed */
  async buildImages(names: readonly string[], events: ImageEvents): Promise<void> {
    await this.open();
    const { driver } = this;
    const [docker, fingerprint] = [await driver.client(), await driver.probe()];
    await buildImages({ endpoint: driver.endpoint, docker, fingerprint, run: (request) => this.run(request) }, names, events);
    await this.fleet.refreshImages();
  }

  /** Plans which node gets which image from where, with the reasons. @throws node.unknown, image.unknown; engine.* if no node is ready */
  async planDistribution(wish: Wish): Promise<PlannedStep[]> {
    await this.open();
    const views = this.fleet.all.map(({ settings, state, trouble, fingerprint, sandboxes, driver }) => ({
      name: settings.name,
      ready: state === 'ready',
      trouble: trouble?.message ?? `it is ${state}`,
      architecture: fingerprint?.architecture,
      images: sandboxes.images,
      exports: driver.exportImage !== undefined,
      imports: driver.importImage !== undefined,
    }));
    return measured(planDistribution(views, wish), async (image, from) => {
      const { driver } = this.fleet.all.find(({ settings }) => settings.name === from) ?? {};
      return driver?.archiveBytes?.(image);
    });
  }

  /** Carries out a plan. The result says what failed. */
  distribute(plan: readonly PlannedStep[], options: Omit<DeliverOptions, 'bring'> & { signal?: AbortSignal }): Promise<Delivery[]> {
    const { signal } = options;
    return deliver(plan, {
      ...options,
      turns: this.fleet.turns,
      bring: (image, to, from, onBytes) => this.fleet.bring(image, to, from, { onBytes, signal }),
    });
  }

  async close(): Promise<void> {
    await this.#runs?.dispatcher.close();
    await this.fleet.close();
    await this.#swarm.close();
    await this.rsync?.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
