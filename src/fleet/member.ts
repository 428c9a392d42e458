import { KatafleetError, messageOf } from '../core/errors.ts';
import { chooseDriver, type Choice, type DriverPolicy, type Reached } from '../drivers/choose.ts';
import type { Driver, DriverKind, Fingerprint } from '../drivers/contract.ts';
import type { SshSettings } from '../drivers/transport/target.ts';
import type { Cluster } from '../scheduler/cluster.ts';
import { Health, type HealthRules, type HealthState } from './health.ts';
import { Node, type NodeOptions } from './node.ts';

/** A node as it is configured. */
export interface MemberSettings {
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

export interface MemberOptions extends Omit<NodeOptions, 'books' | 'startParallelism' | 'onIdle' | 'onImages'> {
  cluster: Cluster;
  connect: (settings: MemberSettings) => Driver;
  /** The drivers that this katafleet has. */
  built: readonly DriverKind[];
  rules: HealthRules & { intervalMs: number; timeoutMs: number };
  /** Whether images can be brought to it from other nodes. */
  copy: boolean;
  onState?: (member: Member, from: HealthState, to: HealthState) => void;
  onTrouble?: (message: string) => void;
}

/** A node that may not serve is asked less often whether that has changed. */
const unusableFactor = 5;
/** Reconciling removes what is left over and may wait for the engine to kill it, ms. */
const reconcileMs = 60_000;
const settleMs = 200;

/** A node of the fleet: its health and what was found of it, kept current in the scheduler's {@link Cluster}. */
export class Member {
  readonly settings: MemberSettings;
  readonly driver: Driver;
  readonly node: Node;
  readonly #options: MemberOptions;
  readonly #health: Health;
  readonly #ending = new AbortController();
  fingerprint: Fingerprint | undefined;
  choice: Choice | undefined;
  /** Why it is not ready, in words; the error that it was met with, where there was one. */
  trouble: KatafleetError | undefined;
  /** Unix ms of its last answer. */
  lastSeen: number | undefined;
  #checking: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #watching = false;

  constructor(settings: MemberSettings, options: MemberOptions) {
    this.settings = settings;
    this.#options = options;
    this.driver = options.connect(settings);
    this.#health = new Health(options.rules);
    const { cluster } = options;
    const { name, starts } = settings;
    this.node = new Node(this.driver, {
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
    this.#timer = setTimeout(() => void this.check(), this.state === 'unusable' ? unusableFactor * intervalMs : intervalMs);
    this.#timer.unref();
  }

  async #look(): Promise<void> {
    const from = this.state;
    try {
      if (from === 'ready' || from === 'suspect') {
        await this.driver.ping(AbortSignal.timeout(this.#options.rules.timeoutMs));
      } else {
        await this.#probe();
        if (this.#health.missing <= 1) await this.#inTime(reconcileMs, this.node.reconcile());
      }
      if (this.#ending.signal.aborted) return;
      this.lastSeen = Date.now();
      this.trouble = undefined;
      this.#moved(from, this.#health.good(performance.now()));
    } catch (error) {
      if (this.#ending.signal.aborted) return;
      this.trouble = error instanceof KatafleetError ? error : new KatafleetError('engine.failed', messageOf(error), { cause: error });
      this.#moved(from, refusals.has(this.trouble.code) ? this.#health.refuse() : this.#health.bad());
    }
  }

  /** What it is and which driver serves it. @throws engine.*, driver.unavailable */
  async #probe(): Promise<void> {
    const { name, labels, withoutMemoryLimits, reserve, endpoint, driver: policy } = this.settings;
    this.driver.forget();
    const reached = await this.#reach();
    this.choice = chooseDriver(endpoint, reached.found, policy, this.#options.built);
    if (this.choice.driver === undefined) {
      throw reached.error ?? new KatafleetError('driver.unavailable', `no driver serves ${this.driver.endpoint}: ${this.choice.why}`);
    }
    this.driver.use?.(this.choice.driver);
    // A fingerprint of the engine is none of the swarm's that it manages.
    const known = this.choice.driver === 'swarm' ? undefined : reached.fingerprint;
    const found = known ?? (await this.#inTime(2 * this.#options.rules.timeoutMs, this.driver.probe()));
    this.fingerprint = found;
    const { memory, cpus, architecture, enforces } = found;
    // A limit that swap gets round is none, and the command line doesn't tell whether the machine has any.
    const bounded = enforces.memory && (enforces.swap || this.choice.driver !== 'ssh');
    const left = 'bytes' in reserve ? reserve.bytes : Math.round(memory * reserve.share);
    this.#options.cluster.setNode({
      name,
      probed: true,
      architecture,
      labels,
      cpus,
      total: memory,
      memory: Math.max(0, memory - left),
      driver: this.choice.driver,
      memoryLimits: bounded ? 'enforced' : withoutMemoryLimits ? 'waived' : 'missing',
      canObtain: this.#options.copy && this.driver.importImage !== undefined,
    });
    if (!bounded && !withoutMemoryLimits) {
      const why = enforces.memory
        ? 'its kernel does not account for swap, so that programs could fill it'
        : 'its kernel has no memory cgroup';
      const boot = enforces.memory ? 'swapaccount=1' : 'cgroup_enable=memory swapaccount=1';
      throw new KatafleetError('engine.limits', `the node ${found.node} does not enforce memory limits: ${why}`, {
        hint: `boot it with ${boot}, or use another node; withoutMemoryLimits: true lets it serve all the same`,
      });
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

  async #inTime<T>(ms: number, work: Promise<T>): Promise<T> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_resolve, reject) => {
      const { endpoint } = this.driver;
      timer = setTimeout(
        () => reject(new KatafleetError('engine.timeout', `${endpoint} takes the call and does not answer within ${ms} ms`)),
        ms,
      );
    });
    work.catch(() => undefined); // its failure after the deadline is nobody's any more
    try {
      return await Promise.race([work, late]);
    } finally {
      clearTimeout(timer);
    }
  }

  #moved(from: HealthState, to: HealthState): void {
    if (to === 'down') {
      if (from === 'down' || from === 'probing') this.driver.disconnect();
      else if (!this.driver.independent) this.node.suspend();
    }
    if (to === 'unusable' && !this.driver.independent && (from === 'ready' || from === 'suspect')) this.node.suspend();
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

  /** Asks for its images; a node that does not answer is looked at. */
  async refreshImages(): Promise<void> {
    if (this.state !== 'ready') return;
    try {
      await this.#inTime(10_000, this.node.refreshImages());
      this.#options.onRoom?.();
    } catch (error) {
      if (this.#ending.signal.aborted) return;
      this.#options.onTrouble?.(`${this.settings.name}: its images could not be listed: ${messageOf(error)}`);
      void this.check();
    }
  }

  async close(): Promise<void> {
    this.#ending.abort(new Error('the fleet is closed'));
    clearTimeout(this.#timer);
    await this.node.close();
    await this.#checking;
  }
}

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
