import { within } from '../../base/deadline.ts';
import { KatafleetError, messageOf } from '../../model/errors.ts';
import type { DriverPolicy } from '../../model/driver-kind.ts';
import { chooseDriver, type Choice } from '../../drivers/choose.ts';
import type { Driver, Fingerprint, Reached } from '../../drivers/contract.ts';
import type { HealthState, Machine } from '../../model/node.ts';
import type { SshSettings } from '../../drivers/transport/target.ts';
import { holds, splitConstraint } from '../../model/placing.ts';
import type { SandboxLimits } from '../../model/profile.ts';
import type { Cluster } from '../../scheduler/place/cluster.ts';
import { Health, type HealthRules } from './health.ts';
import { type Capacity, capacityOf, takesTasks } from '../../drivers/machines.ts';
import { NodeSandboxes, type NodeSandboxesOptions } from './sandboxes.ts';
import { Recent } from './recent.ts';

/** A node as it is configured. */
export interface NodeSettings {
  name: string;
  endpoint: string;
  /** Other managers of the swarm that the endpoint manages: asked when it does not answer. */
  managers?: readonly string[] | undefined;
  tls?: string | { ca: string; cert: string; key: string } | undefined;
  ssh?: SshSettings | undefined;
  labels: Readonly<Record<string, string>>;
  driver: DriverPolicy;
  /** Memory left free for the machine: bytes, or a share of it. */
  reserve: { bytes: number } | { share: number };
  /** Whether it may serve when its kernel enforces no memory limits. */
  withoutMemoryLimits: boolean;
  /** Sandboxes started at once; twice its CPUs if absent. */
  starts?: number | undefined;
  cordoned: boolean;
}

export interface NodeOptions extends Omit<NodeSandboxesOptions, 'books' | 'startParallelism' | 'onIdle' | 'onImages'> {
  cluster: Cluster;
  connect: (settings: NodeSettings) => Driver;
  rules: HealthRules & { intervalMs: number; timeoutMs: number };
  /** Whether images can be brought to it from other nodes. */
  copy: boolean;
  onState?: (node: Node, from: HealthState, to: HealthState) => void;
  onTrouble?: (message: string) => void;
  /** Its engine has told that its images change. */
  onImagesChanged?: (node: Node) => void;
}

/** A node that may not serve is asked less often whether that has changed. */
const unusableFactor = 5;
/** One that is suspect is looked at so often in the time between two looks, so that it serves again as soon as it can. */
const glances = 4;
/** What was lost on a node that has not answered after so long was lost with it, ms. */
const answerMs = 1_000;
/** Reconciling removes what is left over and may wait for the engine to kill it, ms. */
const reconcileMs = 60_000;
const settleMs = 200;
/** Machines behind a node are asked for no more often than this, and what it says of its troubles is waited for no longer, ms. */
const glanceMs = 1_000;

/** A node of the fleet: its health and what was found of it, kept current in the scheduler's {@link Cluster}. */
export class Node {
  readonly settings: NodeSettings;
  readonly driver: Driver;
  readonly sandboxes: NodeSandboxes;
  readonly #options: NodeOptions;
  readonly #health: Health;
  readonly #ending = new AbortController();
  fingerprint: Fingerprint | undefined;
  choice: Choice | undefined;
  /** Why it is not ready, in words; the error that it was met with, where there was one. */
  trouble: KatafleetError | undefined;
  /** Unix ms of its last answer. */
  lastSeen: number | undefined;
  readonly #machines: Recent<readonly Machine[]>;
  /** What the machines had together when the node was last probed for their sake. */
  #capacity: string | undefined;
  /** What went wrong when they were last asked for: it is told once. */
  #told: string | undefined;
  #checking: Promise<void> | undefined;
  /** Looks since the last whose failure counted, and whether the next is one of those whose failure doesn't. */
  #glances = 0;
  #glancing = false;
  #timer: NodeJS.Timeout | undefined;
  #watching = false;

  constructor(settings: NodeSettings, options: NodeOptions) {
    this.settings = settings;
    this.#options = options;
    this.driver = options.connect(settings);
    this.#health = new Health(options.rules);
    this.#machines = new Recent(() => this.#askMachines());
    const { cluster } = options;
    const { name, starts } = settings;
    this.sandboxes = new NodeSandboxes(this.driver, {
      ...options,
      ...(starts === undefined ? {} : { startParallelism: starts }),
      books: { reserve: (bytes) => cluster.reserve(name, bytes), release: (bytes) => cluster.release(name, bytes) },
      onIdle: (pool, idle) => cluster.setIdle(name, pool, idle),
      onImages: (names) => cluster.setImages(name, names),
      onTrouble: (message) => options.onTrouble?.(`${name}: ${message}`),
    });
    cluster.setNode({
      name,
      probed: false,
      architecture: 'other',
      labels: settings.labels,
      cpus: 0,
      memory: 0,
      total: 0,
      driver: 'engine',
      memoryLimits: 'missing',
      canObtain: false,
    });
    cluster.setHealth(name, 'probing');
    if (settings.cordoned) cluster.setCordoned(name, true, 'cordoned');
  }

  get state(): HealthState {
    return this.#health.state;
  }

  /** Looks at the node now, or waits for the look under way; then goes on looking. Never rejects: {@link trouble} tells. */
  check(): Promise<void> {
    this.#checking ??= this.#look().finally(() => {
      this.#checking = undefined;
      this.#schedule();
    });
    return this.#checking;
  }

  #schedule(): void {
    clearTimeout(this.#timer);
    if (this.#ending.signal.aborted) return;
    const { intervalMs } = this.#options.rules;
    if (this.state !== 'suspect') this.#glances = 0;
    else this.#glances = (this.#glances + 1) % glances;
    const ms = this.state === 'unusable' ? unusableFactor * intervalMs : this.state === 'suspect' ? intervalMs / glances : intervalMs;
    this.#timer = setTimeout(() => {
      this.#glancing = this.#glances !== 0;
      void this.check();
    }, ms);
    this.#timer.unref();
  }

  /** A run could not reach it: nothing new goes there until it has answered. */
  doubt(error: KatafleetError): void {
    if (this.state === 'ready') {
      this.trouble = error;
      this.#moved('ready', this.#health.doubt());
      void this.check();
    }
  }

  /**
   * Whether it answers, asked after this call and for a second at most: what was lost on a node that answers was not lost
   * with the node.
   */
  async answers(): Promise<boolean> {
    const asked = async () => {
      if (this.#checking) await this.#checking; // begun before: what it heard may be old
      if (this.state === 'ready') await this.check();
      return this.state === 'ready';
    };
    return within(answerMs, asked).catch(() => false);
  }

  async #look(): Promise<void> {
    const from = this.state;
    const glancing = this.#glancing;
    this.#glancing = false;
    try {
      if (from === 'ready' || from === 'suspect') {
        await this.#timed(this.#options.rules.timeoutMs, (signal) => this.driver.ping(signal));
      } else {
        await this.#probe();
        if (this.#health.missing <= 1) await this.#inTime(reconcileMs, this.sandboxes.reconcile());
      }
      if (this.#ending.signal.aborted) return;
      this.lastSeen = Date.now();
      this.trouble = undefined;
      this.#moved(from, this.#health.good(performance.now()));
      await this.lookAtMachines();
    } catch (error) {
      if (this.#ending.signal.aborted) return;
      this.trouble = error instanceof KatafleetError ? error : new KatafleetError('engine.failed', messageOf(error), { cause: error });
      this.#moved(from, refusals.has(this.trouble.code) ? this.#health.refuse() : this.#failed(glancing));
    }
  }

  /** A node is not down any sooner because it is looked at more often while it is suspect. */
  #failed(glancing: boolean): HealthState {
    return glancing && this.state === 'suspect' ? this.state : this.#health.bad();
  }

  /** What it is and which driver serves it. @throws engine.*, driver.unavailable */
  async #probe(): Promise<void> {
    const { withoutMemoryLimits, endpoint, driver: policy } = this.settings;
    this.driver.forget();
    this.#machines.forget();
    this.#capacity = undefined;
    const reached = await this.#reach();
    this.choice = chooseDriver(endpoint, reached.found, policy);
    if (this.choice.driver === undefined) {
      throw reached.error ?? new KatafleetError('driver.unavailable', `no driver serves ${this.driver.endpoint}: ${this.choice.why}`);
    }
    this.driver.use?.(this.choice.driver);
    // A fingerprint of the engine is none of the swarm's that it manages.
    const known = this.choice.driver === 'swarm' ? undefined : reached.fingerprint;
    const found = known ?? (await this.#inTime(2 * this.#options.rules.timeoutMs, this.driver.probe()));
    const bounded = this.#learn(found);
    if (!bounded && !withoutMemoryLimits) {
      const { enforces } = found;
      const why = enforces.memory
        ? 'its kernel does not account for swap, so that programs could fill it'
        : 'its kernel has no memory cgroup';
      const boot = enforces.memory ? 'swapaccount=1' : 'cgroup_enable=memory swapaccount=1';
      throw new KatafleetError('engine.limits', `the node ${found.node} does not enforce memory limits: ${why}`, {
        hint: `boot it with ${boot}, or use another node; withoutMemoryLimits: true lets it serve all the same`,
      });
    }
  }

  /**
   * Writes down what it is, for the scheduler too. Whether it bounds the memory of sandboxes. Until the largest of all its
   * machines is known, no run is too large for ever.
   */
  #learn(found: Fingerprint, all?: Size, machines?: readonly Machine[]): boolean {
    this.fingerprint = found;
    const { name, labels, withoutMemoryLimits, reserve } = this.settings;
    const { memory, cpus, architecture, enforces, largest } = found;
    const driver = this.choice?.driver ?? 'engine';
    // A limit that swap gets round is none, and the command line doesn't tell whether the machine has any.
    const bounded = enforces.memory && (enforces.swap || driver !== 'ssh');
    const left = 'bytes' in reserve ? reserve.bytes : Math.round(memory * reserve.share);
    const bookable = Math.max(0, memory - left);
    // Of each machine the same share is left free.
    const part = ({ memory: whole, cpus: each }: Size) => ({
      memory: memory > 0 ? Math.floor(whole * (bookable / memory)) : whole,
      cpus: each,
    });
    const unknown = this.driver.machines ? unbounded : undefined;
    const laidOver = (machine: Machine) => ({ ...labelsOf(machine), ...labels });
    this.#options.cluster.setNode({
      name,
      probed: true,
      architecture,
      labels,
      ...(machines ? { machines: machines.filter(takesTasks).map(laidOver), machinesOfAll: machines.map(laidOver) } : {}),
      cpus,
      total: memory,
      memory: bookable,
      ...(largest ? { largest: part(largest), largestOfAll: all ? part(most(largest, all)) : (unknown ?? part(largest)) } : {}),
      driver,
      memoryLimits: bounded ? 'enforced' : withoutMemoryLimits ? 'waived' : 'missing',
      canObtain: this.#options.copy && this.driver.importImage !== undefined,
    });
    return bounded;
  }

  /** The machines behind it, as it last told of them; undefined for one that is a machine itself. */
  get machines(): readonly Machine[] | undefined {
    return this.#machines.value;
  }

  /**
   * Asks a ready node for the machines behind it, unless it told of them so short a time ago, ms. What they have together is
   * what it has: where that has changed it is probed anew. Never rejects: what goes wrong is told as a trouble.
   */
  async lookAtMachines(maxAgeMs: number | 'anew' = 0): Promise<void> {
    if (this.state !== 'ready' || !this.driver.machines) return;
    try {
      const machines = await this.#machines.get(maxAgeMs);
      if (this.state !== 'ready') return;
      const away = machines.filter(({ availability }) => availability !== 'active').flatMap(({ id, name }) => [id, name]);
      if (away.length > 0) this.sandboxes.leave(new Set(away));
      await this.#adapt(machines);
      this.#told = undefined;
    } catch (error) {
      const message = `${this.settings.name}: its machines could not be looked at: ${messageOf(error)}`;
      if (this.#ending.signal.aborted || this.#told === message) return;
      this.#told = message;
      this.#options.onTrouble?.(message);
    }
  }

  /** The machines as they are now, whatever was asked before. @throws node.unknown for one that is a machine itself, engine.* */
  async freshMachines(): Promise<readonly Machine[]> {
    const { name } = this.settings;
    if (!this.driver.machines) throw new KatafleetError('node.unknown', `${name} is one machine, with none behind it`);
    return this.#machines.get('anew');
  }

  async #askMachines(): Promise<readonly Machine[]> {
    const machines = this.driver.machines?.() ?? Promise.resolve([]);
    return (await this.#inTime(this.#options.rules.timeoutMs, machines)).toSorted(byName);
  }

  /** Machines have come or gone, or serve again or no more: the node is probed anew. Runs that it has keep what they have booked. */
  async #adapt(machines: readonly Machine[]): Promise<void> {
    const found = this.fingerprint;
    const [usable, all] = [capacityOf(machines.filter(takesTasks)), capacityOf(machines).largest];
    const capacity = JSON.stringify([usable, all, machines.map((machine) => [takesTasks(machine), labelsOf(machine)])]);
    if (!found || capacity === this.#capacity) return;
    this.#capacity = capacity;
    try {
      const same = usable.memory === found.memory && usable.cpus === found.cpus;
      if (!same) this.driver.forget();
      const now = same ? found : await this.#inTime(2 * this.#options.rules.timeoutMs, this.driver.probe());
      if (this.state !== 'ready') {
        this.#capacity = undefined;
        return;
      }
      this.#learn(now, all, machines);
      this.sandboxes.widen(now.cpus);
      this.#options.onRoom?.();
    } catch (error) {
      this.#capacity = undefined; // it is tried again with the next look
      throw error;
    }
  }

  /** The limits of a sandbox for such a run here: what its constraints ask of the one machine behind the node is among them. */
  limitsFor(limits: SandboxLimits, constraints: readonly string[]): SandboxLimits {
    if (this.choice?.driver !== 'swarm' || constraints.length === 0) return limits;
    const { labels } = this.settings;
    // What holds of every machine, or of the node itself, makes no pool of its own: else each made-up `zone!=x` would.
    const free = (constraint: string) =>
      Object.hasOwn(labels, splitConstraint(constraint).key) || (this.machines?.every((one) => holds(constraint, labelsOf(one))) ?? false);
    const left = constraints.filter((constraint) => !free(constraint));
    return left.length > 0 ? { ...limits, machines: [...new Set(left)].toSorted() } : limits;
  }

  /** Why sandboxes that were asked for have not come, in its own words; none of a node that is not ready, which says that itself. */
  async troubles(image: string, limits: SandboxLimits): Promise<string[]> {
    if (this.state !== 'ready' || !this.driver.troubles) return [];
    try {
      return await this.#inTime(glanceMs, this.driver.troubles(image, limits));
    } catch (error) {
      return [`it could not be asked why sandboxes don't come: ${messageOf(error)}`];
    }
  }

  async #reach(): Promise<{ found: Reached; fingerprint?: Fingerprint; error?: KatafleetError }> {
    const ms = 2 * this.#options.rules.timeoutMs;
    // Where several drivers would do, what keeps all of them off is no choice.
    if (this.driver.reach) return { found: await this.#inTime(ms, this.driver.reach()) };
    try {
      const fingerprint = await this.#inTime(ms, this.driver.probe());
      return { found: { api: 'usable', fingerprint }, fingerprint };
    } catch (error) {
      if (!(error instanceof KatafleetError)) throw error;
      if (error.code === 'engine.too_old')
        return { found: { api: 'too_old', engineVersion: /Docker ([\w.]+)/.exec(error.message)?.[1] ?? '' }, error };
      return { found: { api: 'none', why: error.message }, error };
    }
  }

  #inTime<T>(ms: number, work: Promise<T>): Promise<T> {
    return this.#timed(ms, () => work);
  }

  #timed<T>(ms: number, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const { timeoutMs } = this.#options.rules;
    const bound = ms === timeoutMs ? ' (health.timeout)' : ms === 2 * timeoutMs ? ' (twice health.timeout)' : '';
    const late = () =>
      new KatafleetError('engine.timeout', `${this.driver.endpoint} takes the call and does not answer within ${ms} ms${bound}`);
    return within(ms, work, { late });
  }

  #moved(from: HealthState, to: HealthState): void {
    if (to !== 'ready' && to !== 'suspect') this.#machines.forget();
    if (to === 'down') {
      if (from === 'down' || from === 'probing') this.driver.disconnect();
      else if (!this.driver.independent) this.sandboxes.suspend();
    }
    if (to === 'unusable' && !this.driver.independent && (from === 'ready' || from === 'suspect')) this.sandboxes.suspend();
    this.#options.cluster.setHealth(this.settings.name, to, this.trouble?.message);
    if (to === 'ready') this.#watch();
    if (from !== to) this.#options.onState?.(this, from, to);
    if (to === 'ready' && from !== 'ready') this.#options.onRoom?.();
  }

  /** Follows the engine's events on images for as long as it tells them. */
  #watch(): void {
    if (this.#watching || !this.driver.watchImages) return;
    this.#watching = true;
    let settling: NodeJS.Timeout | undefined;
    const changed = () => {
      this.sandboxes.imagesChanged();
      this.#options.onImagesChanged?.(this);
      settling ??= setTimeout(() => {
        settling = undefined;
        void this.refreshImages();
      }, settleMs).unref();
    };
    // A stream that breaks is taken up again with the next good look.
    const ended = () => {
      this.#watching = false;
    };
    this.driver.watchImages(changed, this.#ending.signal).then(ended, ended);
  }

  /** Asks for its images; a node that does not answer is looked at. Whether it was ready and answered; never rejects. */
  async refreshImages(): Promise<boolean> {
    if (this.state !== 'ready') return false;
    try {
      await this.#inTime(10_000, this.sandboxes.refreshImages());
      this.#options.onRoom?.();
      return true;
    } catch (error) {
      if (this.#ending.signal.aborted) return false;
      this.#options.onTrouble?.(`${this.settings.name}: its images could not be listed: ${messageOf(error)}`);
      void this.check();
      return false;
    }
  }

  async close(): Promise<void> {
    this.#ending.abort(new Error('the fleet is closed'));
    clearTimeout(this.#timer);
    await this.sandboxes.close();
    await this.#checking;
  }
}

type Size = Capacity['largest'];
const unbounded: Size = { memory: Infinity, cpus: Infinity };
const most = (a: Size, b: Size): Size => ({ memory: Math.max(a.memory, b.memory), cpus: Math.max(a.cpus, b.cpus) });

/** A machine's labels, with what swarms themselves call it. */
const labelsOf = ({ id, name, role, labels }: Machine): Record<string, string> => ({
  ...labels,
  'node.hostname': name,
  'node.id': id,
  'node.role': role,
});

const byName = (a: Machine, b: Machine): number => (a.name < b.name ? -1 : a.name > b.name ? 1 : a.id < b.id ? -1 : 1);

/** What only a change on the node can mend. */
const refusals: ReadonlySet<string> = new Set([
  'engine.too_old',
  'engine.limits',
  'engine.permission',
  'driver.unavailable',
  'docker.missing',
  'gate.refused',
  'ssh.host_key',
  'ssh.refused',
]);
