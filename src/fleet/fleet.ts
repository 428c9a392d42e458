import type { Clock } from '../base/clock.ts';
import { inParallel } from '../base/in-parallel.ts';
import { KatafleetError, messageOf } from '../model/errors.ts';
import type { FleetImage } from '../model/fleet-image.ts';
import { canonicalImage } from '../model/image-name.ts';
import type { Machine, NodeSummary } from '../model/node.ts';
import { type Placing, unplaced } from '../model/placing.ts';
import type { SandboxLimits } from '../model/profile.ts';
import type { NodeVerdict } from '../model/verdict.ts';
import { Cluster } from '../scheduler/place/cluster.ts';
import { explain, type Policy, type Wanted } from '../scheduler/place/placement.ts';
import { Explanations, type WhyNot } from '../scheduler/place/why-not.ts';
import type { NodeChange } from './changes.ts';
import type { CopyOptions } from './inventory/copy.ts';
import { fleetImages, ImageCopies } from './inventory/images.ts';
import type { CopyTurns } from './inventory/copy-turns.ts';
import { PullAhead } from './inventory/pull-ahead.ts';
import { ImageSearch, listings } from './inventory/image-search.ts';
import { Members, type MembersOptions } from './members.ts';
import { Node, type NodeOptions } from './node/node.ts';
import type { NodeSettings } from './node/settings.ts';
import type { Lease } from './node/sandboxes.ts';
import { machineOf, splitMachine } from './node/machines.ts';
import { SelfWatch } from './node/self-watch.ts';
import { nodeSummary } from './node/summary.ts';
import type { FleetPool, ShareMember } from './pools/share.ts';
import { PoolShares } from './pools/shares.ts';
import type { WarmPool } from './pools/pool.ts';
import type { Doomed } from './upkeep/reaper.ts';

export interface FleetOptions extends Omit<NodeOptions, 'cluster' | 'self' | 'onState' | 'onRoom' | 'onImagesChanged'> {
  nodes: readonly NodeSettings[];
  policy: Policy;
  /** How long a node must be down, or back, before its share of idle sandboxes moves, ms; 0 if absent. */
  awayMs?: number;
  /** Least time between two distributions of the idle sandboxes, ms; a second if absent. */
  paceMs?: number;
  /** The time for the distributions of idle sandboxes. */
  clock?: Clock;
  /** See {@link MembersOptions.onDecision}. */
  onDecision?: MembersOptions['onDecision'];
  /** Called when a node's health changes or a person cordons it; for the journal. */
  onEvent?: (node: string, kind: string, detail: string) => void;
}

/** An administrator's decision about a node, or about one machine behind it. */
export type CordonAction = 'cordon' | 'drain' | 'uncordon';
const availabilities = { cordon: 'pause', drain: 'drain', uncordon: 'active' } as const satisfies Record<
  CordonAction,
  Machine['availability']
>;
/** How old the shown state of machines behind nodes may be, ms. */
const freshMs = 1_000;

/** All nodes, their books, and which of them may serve. */
export class Fleet {
  readonly cluster: Cluster;
  readonly #members: Members;
  readonly #options: FleetOptions;
  readonly #explanations: Explanations;
  readonly #copies = new ImageCopies();
  readonly #pullAhead: PullAhead;
  readonly #search = new ImageSearch(
    () => this.all,
    (name) => this.hasImage(name),
  );
  readonly #self: SelfWatch;
  readonly #shares: PoolShares;
  /** The cluster's topology when the pools were last distributed. */
  #sharedFor = 0;
  readonly #listeners = new Set<() => void>();

  /** Does not connect yet. @throws endpoint.invalid */
  constructor(options: FleetOptions) {
    this.#options = options;
    this.cluster = new Cluster(options.idleMemory);
    this.#explanations = new Explanations(this.cluster);
    this.#self = new SelfWatch(options.rules, options.onTrouble);
    const nodeOptions: NodeOptions = {
      ...options,
      cluster: this.cluster,
      self: this.#self,
      onRoom: () => this.#room(),
      onImagesChanged: (node) => this.#search.changed(node),
      onState: (node, from, to) => {
        options.onEvent?.(node.settings.name, to, node.trouble?.message ?? `was ${from}`);
        this.#shares.moved(node.settings.name, to);
        if (to === 'ready') this.#members.ready(node);
        this.#room();
      },
    };
    this.cluster.pullsAhead = options.copy;
    this.#pullAhead = new PullAhead({
      cluster: this.cluster,
      copies: this.#copies,
      bring: (image, to) => this.#copies.bring(image, this.node(to), () => this.all),
      onTrouble: (image, to, error) => options.onTrouble?.(`${to}: ${image} could not be copied there: ${messageOf(error)}`),
    });
    this.#shares = new PoolShares({ ...options, members: () => this.#sharing() });
    this.#members = new Members(options.nodes, {
      ...options,
      cluster: this.cluster,
      make: (settings) => new Node(settings, nodeOptions),
      onJoined: (name) => this.#shares.add(name),
      onLeft: (name) => {
        this.#shares.remove(name);
        this.#self.doubt.left(name);
      },
      onChanged: (more) => {
        this.#shares.soon();
        if (more) this.#room();
      },
    });
    this.#members.add();
  }

  /** All nodes, in the order of the configuration. */
  get all(): readonly Node[] {
    return this.#members.all;
  }

  /** Takes other nodes and other settings of nodes while it serves, see {@link Members.reconfigure}. */
  reconfigure(nodes: readonly NodeSettings[]): NodeChange[] {
    return this.#members.reconfigure(nodes);
  }

  *#sharing(): Generator<Omit<ShareMember, 'present'>> {
    for (const node of this.all) yield { node, books: this.cluster.node(node.settings.name) };
  }

  /** Looks at every node once, then goes on looking. Resolves when each has answered or has failed to answer in time. */
  async open(): Promise<void> {
    this.#self.lag.start();
    await Promise.all(this.all.map((node) => node.check()));
  }

  /** Registers a callback for when memory or a sandbox becomes free, so that more runs may fit. */
  onRoom(listener: () => void): void {
    this.#listeners.add(listener);
  }

  #room(): void {
    if (this.cluster.topology !== this.#sharedFor) {
      this.#sharedFor = this.cluster.topology;
      this.#shares.soon();
    }
    for (const listener of this.#listeners) listener();
  }

  has(name: string): boolean {
    return this.#members.has(name);
  }

  /** @throws node.unknown */
  node(name: string): Node {
    return this.#members.node(name);
  }

  /** Whether a node is ready, or may be soon. */
  get mayBecomeReady(): boolean {
    return (['ready', 'suspect', 'probing'] as const).some((state) => this.cluster.count(state) > 0);
  }

  /** The error of the first node that is not ready. */
  get trouble(): KatafleetError | undefined {
    return this.all.find(({ trouble }) => trouble !== undefined)?.trouble;
  }

  /**
   * Leases a sandbox on a node for a run, see {@link NodeSandboxes.lease}; copies the image there first if the node lacks it. The signal
   * ends the wait for a copy, and the copy goes on, because others may wait for it.
   * @param onImage called when the node has the image
   */
  async lease(
    name: string,
    image: string,
    limits: SandboxLimits,
    granted: number,
    signal?: AbortSignal,
    placing: Pick<Placing, 'tenant' | 'priority' | 'constraints'> = unplaced,
    onImage?: () => void,
  ): Promise<Lease> {
    const node = this.node(name);
    if (node.sandboxes.imageId(image) === undefined) {
      try {
        await this.#copies.bring(image, node, () => this.all, { signal });
      } catch (error) {
        this.cluster.release(name, granted);
        throw error;
      }
    }
    onImage?.();
    return node.sandboxes.lease(image, node.limitsFor(limits, placing.constraints), granted, signal, placing);
  }

  /** Returns why nodes do not take a run, in short; runs of one shape share an explanation for a second. */
  whyNot(wanted: Wanted): WhyNot {
    return this.#explanations.of(wanted);
  }

  /** How many nodes were asked for {@link whyNot} so far. */
  get asked(): number {
    return this.#explanations.asked;
  }

  explain(wanted: Wanted): NodeVerdict[] {
    return explain(this.cluster, wanted, this.#options.policy);
  }

  /** As {@link explain}, with the nodes' own reasons why they start no such sandboxes. For people; takes about a second at most. */
  verdicts(wanted: Wanted, limits: SandboxLimits): Promise<NodeVerdict[]> {
    const asked = this.explain(wanted).map(async (verdict) => {
      const node = this.node(verdict.node);
      const troubles = await node.troubles(wanted.image, node.limitsFor(limits, wanted.constraints));
      return troubles.length > 0 ? { ...verdict, troubles } : verdict;
    });
    return Promise.all(asked);
  }

  /**
   * Cordons a node: it takes nothing new. `drain` also removes its idle sandboxes. Running runs go on to their end. `machine`: the id of
   * the engine that the decision was about, if it was made before; another one is not cordoned.
   */
  cordon(name: string, drain = false, machine?: string): void {
    this.#members.cordon(name, drain, machine);
  }

  uncordon(name: string): void {
    this.#members.uncordon(name);
  }

  /**
   * Cordons, drains or uncordons one machine behind a node, `NODE/MACHINE`. Its swarm stores that. Running runs go on to their end.
   * @throws node.unknown, engine.*
   */
  async cordonMachine(name: string, how: CordonAction): Promise<void> {
    const { node: nodeName, machine } = splitMachine(name);
    const node = this.node(nodeName);
    const { id, name: host } = machineOf(await node.freshMachines(), nodeName, machine ?? '');
    if (!node.driver.setAvailability) throw new KatafleetError('node.unknown', `${nodeName} has no say in which of its machines is used`);
    await node.driver.setAvailability(id, availabilities[how]);
    this.#options.onEvent?.(nodeName, how, `the machine ${host}`);
    await node.lookAtMachines('anew');
    this.#shares.soon();
  }

  /** Sets how many idle sandboxes of an image the whole fleet keeps. */
  want(pool: FleetPool): void {
    this.#shares.want(pool);
  }

  /** As {@link want} for these pools, in place of all that were wanted before. */
  wantOnly(pools: readonly FleetPool[]): void {
    this.#shares.setAll(pools);
  }

  /** Distributes the wanted idle sandboxes over the nodes, see {@link PoolShares.now}. Reports troubles and does not throw them. */
  retarget(): Promise<WarmPool[]> {
    return this.#shares.now();
  }

  /** Copies images to nodes that have room for waiting runs and lack their images, a few at a time. */
  pullAhead(waiting: Iterable<Wanted>): void {
    this.#pullAhead.plan(waiting);
  }

  /** The plan of all copies of images between nodes. */
  get turns(): CopyTurns {
    return this.#copies.turns;
  }

  /** Copies an image from one node to another, in a turn that the caller has taken. @throws node.unknown; what {@link ImageCopies.bring} throws */
  bring(image: string, to: string, from: string, options: CopyOptions = {}): Promise<void> {
    return this.#copies.bring(image, this.node(to), () => this.all, { ...options, from: this.node(from) });
  }

  /** Reads the image list of every ready node, of some at a time. */
  async refreshImages(): Promise<void> {
    await inParallel(listings, this.all, (node) => node.refreshImages());
  }

  images(): FleetImage[] {
    return fleetImages(this.all, (name) => this.#members.cordonOf(name) !== undefined, this.#options.copy);
  }

  /** Whether a node had the image when the lists were last read. */
  hasImage(name: string): boolean {
    return this.cluster.withImage(canonicalImage(name)).size > 0;
  }

  /** Whether a node has the image; asks all nodes if that is not known, see {@link ImageSearch.look}. */
  async findImage(name: string): Promise<boolean> {
    await this.#search.look(canonicalImage(name));
    return this.hasImage(name);
  }

  /** Removes leftovers on the ready nodes, or only lists them in a dry run. Reports a node that fails as a trouble. */
  async reap(dryRun: boolean): Promise<{ node: string; doomed: Doomed[] }[]> {
    const ready = this.all.filter(({ state }) => state === 'ready');
    return Promise.all(
      ready.map(async ({ settings: { name }, sandboxes }) => {
        try {
          return { node: name, doomed: await sandboxes.reap(dryRun) };
        } catch (error) {
          this.#options.onTrouble?.(`${name}: could not be reaped: ${error instanceof Error ? error.message : String(error)}`);
          return { node: name, doomed: [] };
        }
      }),
    );
  }

  /** Returns what a person sees of each node. */
  nodes(): NodeSummary[] {
    return this.all.map((node) => this.#summary(node));
  }

  #summary(node: Node): NodeSummary {
    const { name } = node.settings;
    return nodeSummary(node, this.cluster.node(name), this.#members.cordonOf(name));
  }

  /** Returns what a person sees of one node, with a fresh list of the machines behind it. @throws node.unknown */
  async freshNode(name: string): Promise<NodeSummary> {
    const node = this.node(name);
    await node.lookAtMachines(freshMs);
    return this.#summary(node);
  }

  /** As {@link nodes}, but with a fresh list of the machines behind the nodes. */
  async freshNodes(): Promise<NodeSummary[]> {
    await Promise.all(this.all.map((node) => node.lookAtMachines(freshMs)));
    return this.nodes();
  }

  async close(): Promise<void> {
    this.#listeners.clear();
    this.#shares.close();
    await this.#members.close();
    this.#self.lag.stop();
  }
}
