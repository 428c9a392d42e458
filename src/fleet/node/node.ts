import { within } from '../../base/deadline.ts';
import { KatafleetError, messageOf } from '../../model/errors.ts';
import { chooseDriver, type Choice } from '../../drivers/choose.ts';
import type { Driver, Fingerprint } from '../../drivers/contract.ts';
import type { Capacity } from '../../drivers/machines.ts';
import type { HealthState, Machine } from '../../model/node.ts';
import type { SandboxLimits } from '../../model/profile.ts';
import type { Cluster } from '../../scheduler/place/cluster.ts';
import { constrainedLimits } from './constrained-limits.ts';
import { DriverCalls } from './driver-calls.ts';
import { boundsMemory, nodeFacts, unprobedFacts } from './facts.ts';
import { Health, type HealthRules } from './health.ts';
import { type MachineChange, MachineIdentity, machineInWords } from './identity.ts';
import { ImageWatch } from './image-watch.ts';
import { LookPace } from './look-pace.ts';
import { MachinesBehind } from './machines-behind.ts';
import { isRefusal, reach, withoutLimits } from './probing.ts';
import { NodeSandboxes, type NodeSandboxesOptions } from './sandboxes.ts';
import { isSilence, type SelfWatch } from './self-watch.ts';
import type { NodeSettings } from './settings.ts';

export interface NodeOptions extends Omit<
  NodeSandboxesOptions,
  'books' | 'startParallelism' | 'startMs' | 'lag' | 'onStuck' | 'onFree' | 'onIdle' | 'onImages'
> {
  cluster: Cluster;
  connect: (settings: NodeSettings) => Driver;
  rules: HealthRules & {
    intervalMs: number;
    timeoutMs: number;
    /** How long a start of a sandbox may take; unbounded if absent. Two in a row that take longer make a node suspect. */
    startMs?: number | undefined;
  };
  self: SelfWatch;
  /** Whether images can be copied to it from other nodes. */
  copy: boolean;
  onState?: (node: Node, from: HealthState, to: HealthState) => void;
  onTrouble?: (message: string) => void;
  /** Called when the engine reports a change of its images. */
  onImagesChanged?: (node: Node) => void;
}

/** After this time without an answer a node is lost, with its runs, ms. */
const answerMs = 1_000;
/** How long a reconciliation may take, ms: it removes leftovers, and may wait for the engine to kill them. */
const reconcileMs = 60_000;
/** How often a look is repeated at once because this process stalled meanwhile. */
const mostStalls = 5;
/** How long a driver may take to say why it starts no sandboxes, ms. */
const troublesMs = 1_000;
/** How long a list of images may take, ms. */
const imagesMs = 10_000;

/** A node of the fleet: checks its health, probes it, and keeps the scheduler's {@link Cluster} up to date. */
export class Node {
  settings: NodeSettings;
  readonly driver: Driver;
  readonly sandboxes: NodeSandboxes;
  readonly #options: NodeOptions;
  readonly #health: Health;
  readonly #ending = new AbortController();
  fingerprint: Fingerprint | undefined;
  choice: Choice | undefined;
  /** Why the node is not ready, in words, and the error, if there was one. */
  trouble: KatafleetError | undefined;
  /** When the node last answered, Unix ms. */
  lastSeen: number | undefined;
  /** As {@link lastSeen}, on the steady clock, ms. */
  #heardAt = 0;
  readonly #calls: DriverCalls;
  readonly #machines: MachinesBehind;
  readonly #identity: MachineIdentity;
  #checking: Promise<void> | undefined;
  readonly #pace: LookPace;
  /** How long it has not answered, without this process's stalls, ms. */
  #silentMs = 0;
  /** Whether the next look is an extra one, see {@link LookPace}. */
  #extraLook = false;
  #timer: NodeJS.Timeout | undefined;
  readonly #imageWatch: ImageWatch;

  constructor(settings: NodeSettings, options: NodeOptions) {
    this.settings = settings;
    this.#options = options;
    this.driver = options.connect(settings);
    this.#health = new Health(options.rules);
    this.#pace = new LookPace(options.rules.intervalMs);
    const { cluster } = options;
    const { name, starts } = settings;
    this.sandboxes = new NodeSandboxes(this.driver, {
      ...options,
      ...(starts === undefined ? {} : { startParallelism: starts }),
      books: {
        reserve: (bytes) => cluster.reserve(name, bytes),
        reserveIdle: (bytes) => cluster.reserveIdle(name, bytes),
        release: (bytes) => cluster.release(name, bytes),
        setOthers: (bytes) => cluster.setOthers(name, bytes),
        memory: () => cluster.node(name)?.memory ?? 0,
      },
      startMs: options.rules.startMs,
      lag: options.self.lag,
      onStuck: (error) => {
        if (this.state !== 'ready' && this.state !== 'suspect') return;
        this.trouble = error;
        this.#moved(this.state, this.#health.stick());
      },
      onFree: () => {
        this.#health.unstick();
        void this.check();
      },
      onIdle: (pool, idle) => cluster.setIdle(name, pool, idle),
      onImages: (names) => cluster.setImages(name, names),
      onTrouble: (message) => options.onTrouble?.(`${name}: ${message}`),
    });
    this.#calls = new DriverCalls(this.driver, options.rules.timeoutMs);
    const tell = (message: string) => options.onTrouble?.(`${name}: ${message}`);
    this.#identity = new MachineIdentity(() => this.#calls.identify(), tell);
    this.#machines = new MachinesBehind({
      name,
      driver: this.driver,
      calls: this.#calls,
      isReady: () => this.state === 'ready',
      isClosed: () => this.#ending.signal.aborted,
      onAway: (machines) => this.sandboxes.leave(machines),
      onChange: (machines, usable, largestOfAll) => this.#machinesChanged(machines, usable, largestOfAll),
      onTrouble: options.onTrouble,
    });
    this.#imageWatch = new ImageWatch({
      driver: this.driver,
      signal: this.#ending.signal,
      onChanged: () => {
        this.sandboxes.imagesChanged();
        options.onImagesChanged?.(this);
      },
      onSettled: () => void this.refreshImages(),
    });
    cluster.setNode(unprobedFacts(settings));
    cluster.setHealth(name, 'probing');
    if (settings.cordoned) cluster.setCordoned(name, true, 'cordoned');
  }

  get state(): HealthState {
    return this.#health.state;
  }

  /** Looks at the node now, or waits for the look under way, then goes on looking. Never rejects: {@link trouble} has the error. */
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
    const { ms, extra } = this.#pace.next(this.state);
    const look = () => {
      if (this.#ending.signal.aborted) return;
      this.#extraLook = extra;
      void this.check();
    };
    this.#timer = setTimeout(() => this.#options.self.turns.add(look), ms);
    this.#timer.unref();
  }

  /** Notes that a run could not reach the node: it takes nothing new until it answers. */
  doubt(error: KatafleetError): void {
    if (this.state === 'ready') {
      this.trouble = error;
      this.#moved('ready', this.#health.doubt());
      void this.check();
    }
  }

  /**
   * Asks the node, for a second at most, and returns whether it answers. If it does, a lost sandbox was not lost with the node.
   */
  async answers(): Promise<boolean> {
    const asked = async () => {
      if (this.#checking) await this.#checking; // its answer may be older than this call
      if (this.state === 'ready') await this.check();
      return this.state === 'ready';
    };
    return within(answerMs, asked).catch(() => false);
  }

  async #look(): Promise<void> {
    let from = this.state;
    const extra = this.#extraLook;
    this.#extraLook = false;
    const { self } = this.#options;
    for (let stalls = 0; stalls < mostStalls; stalls += 1) {
      const begun = performance.now();
      const stalledMs = self.lag.stalledMs;
      try {
        from = await this.#ask(from);
        if (this.#ending.signal.aborted) return;
        this.#silentMs = 0;
        this.lastSeen = Date.now();
        this.#heardAt = performance.now();
        const to = this.#health.good(performance.now());
        this.trouble = to === 'ready' ? undefined : (this.sandboxes.stuck ?? this.trouble);
        this.#moved(from, to);
        await this.lookAtMachines();
        return;
      } catch (error) {
        if (this.#ending.signal.aborted) return;
        if (this.state === 'probing') from = 'probing'; // another machine was found, and could not be probed
        const stalled = self.lag.stalledMs - stalledMs;
        this.#silentMs += Math.max(0, performance.now() - begun - stalled);
        if (self.ownStall(error, stalled) && !self.isSilent(this.#silentMs)) continue;
        this.#silentMs = 0;
        this.trouble = error instanceof KatafleetError ? error : new KatafleetError('engine.failed', messageOf(error), { cause: error });
        this.#moved(from, this.#failed(from, this.trouble, extra));
        return;
      }
    }
  }

  /** Asks the node whether it serves. Returns the state that it has left: `probing` if another machine answers. @throws engine.*, driver.* */
  async #ask(from: HealthState): Promise<HealthState> {
    if (from === 'ready' || from === 'suspect') {
      await this.#calls.ping();
      const change = await this.#identity.ask();
      return change ? this.#probeAnew(from, change) : from;
    }
    await this.#probe();
    if (this.#health.missing <= 1) await this.#calls.within(reconcileMs, () => this.sandboxes.reconcile());
    return from;
  }

  /** Takes in another machine, or the same one with another size. @throws engine.*, driver.* */
  async #probeAnew(from: HealthState, { how, found }: { how: MachineChange; found: Fingerprint }): Promise<HealthState> {
    const was = this.fingerprint ? ` (it was ${machineInWords(this.fingerprint)})` : '';
    const what = how === 'replaced' ? 'another machine answers' : 'the machine has changed';
    const message = `${what}: ${machineInWords(found)}${was}; it is probed anew`;
    this.#options.onTrouble?.(`${this.settings.name}: ${message}`);
    this.trouble = new KatafleetError('node.lost', message);
    this.#moved(from, this.#health.anew());
    const { independent } = this.driver;
    if (how === 'replaced' && !independent) this.sandboxes.suspend(); // none of its sandboxes is there
    try {
      return await this.#ask('probing');
    } catch (error) {
      if (!independent) this.sandboxes.suspend();
      throw error;
    }
  }

  #failed(from: HealthState, error: KatafleetError, extra: boolean): HealthState {
    if (isRefusal(error)) return this.#health.refuse();
    this.#identity.doubt();
    const { doubt } = this.#options.self;
    const { name } = this.settings;
    if (extra && this.state === 'suspect') return this.#health.missed();
    const now = performance.now();
    const served = from === 'ready' || from === 'suspect';
    // If streams of the node broke by themselves, it has lost more than its way to katafleet.
    if (served && isSilence(error) && !this.sandboxes.brokeOffSince(this.#heardAt)) return this.#health.bad(doubt.silent(name, now));
    doubt.left(name);
    return this.#health.bad();
  }

  /** Probes the node and chooses its driver. @throws engine.*, driver.unavailable */
  async #probe(): Promise<void> {
    const { withoutMemoryLimits, endpoint, driver: policy } = this.settings;
    this.driver.forget();
    this.#machines.forget();
    this.#machines.compareAnew();
    const reached = await reach(this.driver, this.#calls);
    this.choice = chooseDriver(endpoint, reached.found, policy);
    if (this.choice.driver === undefined) {
      throw reached.error ?? new KatafleetError('driver.unavailable', `no driver serves ${this.driver.endpoint}: ${this.choice.why}`);
    }
    this.driver.use?.(this.choice.driver);
    // One engine's fingerprint does not describe all machines behind the node.
    const known = this.driver.machines ? undefined : reached.fingerprint;
    const fingerprint = known ?? (await this.#calls.probe());
    if (this.#identity.learn(fingerprint)) this.sandboxes.replaced();
    this.#learn(fingerprint);
    if (!boundsMemory(fingerprint, this.choice.driver) && !withoutMemoryLimits) throw withoutLimits(fingerprint);
  }

  /** Takes other settings that do not change how the node is reached: labels, what is kept free, whether it needs memory limits. */
  alter(settings: NodeSettings): void {
    this.settings = settings;
    if (this.fingerprint) this.#learn(this.fingerprint, { ...(this.machines ? { machines: this.machines } : {}) });
    else this.#options.cluster.setNode(unprobedFacts(settings));
    this.#machines.compareAnew(); // the machines' sizes follow from the settings
    void this.lookAtMachines('anew');
  }

  /** Stores the probe's findings, for the scheduler too. */
  #learn(fingerprint: Fingerprint, behind: { machines?: readonly Machine[]; largestOfAll?: Capacity['largest'] } = {}): void {
    this.fingerprint = fingerprint;
    const driver = this.choice?.driver ?? this.driver.kind;
    const canObtain = this.#options.copy && this.driver.importImage !== undefined;
    const severalMachines = this.driver.machines !== undefined;
    this.#options.cluster.setNode(nodeFacts(this.settings, { fingerprint, driver, severalMachines, canObtain, ...behind }));
  }

  /** The last known machines behind the node; undefined if it has none behind it. */
  get machines(): readonly Machine[] | undefined {
    return this.#machines.known;
  }

  /**
   * Asks a ready node for the machines behind it, unless the last answer is younger than this, ms. If they have changed, probes the
   * node again. Never rejects: reports errors as troubles.
   */
  lookAtMachines(maxAgeMs: number | 'anew' = 0): Promise<void> {
    return this.#machines.look(maxAgeMs);
  }

  /** Asks for the machines now. @throws node.unknown for a node that has no machines behind it, engine.* */
  freshMachines(): Promise<readonly Machine[]> {
    return this.#machines.fresh();
  }

  /** Sets the node's size to the sum of its machines. Running runs keep their bookings. Returns false if the node is no longer ready. */
  async #machinesChanged(machines: readonly Machine[], usable: Capacity, largestOfAll: Capacity['largest']): Promise<boolean> {
    const found = this.fingerprint;
    if (!found) return false;
    const same = usable.memory === found.memory && usable.cpus === found.cpus;
    if (!same) this.driver.forget();
    const now = same ? found : await this.#calls.probe();
    if (this.state !== 'ready') return false;
    this.#learn(now, { machines, largestOfAll });
    this.sandboxes.widen(now.cpus);
    this.#options.onRoom?.();
    return true;
  }

  /** Returns the limits of a run's sandbox on this node. On a swarm they also have the constraints that its machine must satisfy. */
  limitsFor(limits: SandboxLimits, constraints: readonly string[]): SandboxLimits {
    if (!this.driver.machines || constraints.length === 0) return limits;
    return constrainedLimits(limits, constraints, { labels: this.settings.labels, machines: this.machines });
  }

  /** Returns why a ready node starts no sandboxes, in the driver's words; nothing for another node, which has its own trouble. */
  async troubles(image: string, limits: SandboxLimits): Promise<string[]> {
    if (this.state !== 'ready' || !this.driver.troubles) return [];
    const { driver } = this;
    try {
      return await this.#calls.within(troublesMs, () => driver.troubles?.(image, limits) ?? Promise.resolve([]));
    } catch (error) {
      return [`it could not be asked why sandboxes don't come: ${messageOf(error)}`];
    }
  }

  #moved(from: HealthState, to: HealthState): void {
    if (to !== 'ready' && to !== 'suspect') this.#machines.forget();
    if (to === 'down') {
      if (from === 'down' || from === 'probing') this.driver.disconnect();
      else if (!this.driver.independent) this.sandboxes.suspend();
    }
    if (to === 'unusable' && !this.driver.independent && (from === 'ready' || from === 'suspect')) this.sandboxes.suspend();
    this.#options.cluster.setHealth(this.settings.name, to, this.trouble?.message);
    if (to === 'ready') {
      this.#options.self.doubt.heard(this.settings.name);
      this.#imageWatch.follow();
    } else if (to !== 'suspect') {
      this.#options.self.doubt.left(this.settings.name);
    }
    if (from !== to) this.#options.onState?.(this, from, to);
    if (to === 'ready' && from !== 'ready') this.#options.onRoom?.();
  }

  /** Reads the image list, and looks at a node that does not answer. Returns whether it was ready and answered; never rejects. */
  async refreshImages(): Promise<boolean> {
    if (this.state !== 'ready') return false;
    try {
      await this.#calls.within(imagesMs, () => this.sandboxes.refreshImages());
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
