import { abortable } from '../../base/deadline.ts';
import type { LagClock } from '../../base/lag-clock.ts';
import { minute } from '../../base/units.ts';
import { KatafleetError, messageOf } from '../../model/errors.ts';
import { type Placing, unplaced } from '../../model/placing.ts';
import type { SandboxLimits } from '../../model/profile.ts';
import type { Driver, NodeImage, PreparedImage, Sandbox } from '../../drivers/contract.ts';
import { defaultUids, sandboxGid } from '../../model/users.ts';
import type { PoolBounds } from '../../scheduler/targets.ts';
import { NodePools, type PoolShape } from '../pools/node-pools.ts';
import { type Grant, PoolRetired, type WarmPool } from '../pools/pool.ts';
import type { ReadySandbox } from '../pools/ready-sandbox.ts';
import type { Claim } from '../pools/starts.ts';
import { NodeReaper } from '../upkeep/node-reaper.ts';
import type { Doomed, JournalIdentity } from '../upkeep/reaper.ts';
import { BrokenMachines } from './broken-machines.ts';
import { Neighbours } from './neighbours.ts';
import { NodeImages } from './node-images.ts';
import { Removals } from './removals.ts';
import { type Books, SandboxLedger } from './sandbox-ledger.ts';
import { nodeLost, SandboxMaker } from './sandbox-maker.ts';
import { UidBook } from './uids.ts';

export interface NodeSandboxesOptions {
  books: Books;
  /** Memory that an idle sandbox books, bytes: less than one MiB for the supervisor, the rest for the engine's own processes. */
  idleMemory: number;
  /** Bounds of each pool without bounds of its own; no idle sandboxes if absent. */
  pool?: PoolBounds;
  /** How many sandboxes may start at once on the node. If absent, as many as its driver says, else twice its CPUs. */
  startParallelism?: number;
  /** How long a start may take, ms; unbounded if absent. */
  startMs?: number | undefined;
  /** Measures the stalls of this process. */
  lag?: Pick<LagClock, 'stalledMs'>;
  /** How long an idle sandbox waits before it ends and is replaced, ms. */
  idleMs?: number;
  journal?: JournalIdentity | undefined;
  /** How long a sandbox may stay past its deadline, ms. */
  graceMs?: number;
  /** Uids in use, shared by all nodes, because several nodes may be the same machine. */
  uids?: UidBook;
  onTrouble?: (message: string) => void;
  /** Called when the engine is found to answer and to start nothing, and when it starts sandboxes again. */
  onStuck?: (error: KatafleetError) => void;
  onFree?: () => void;
  onIdle?: (pool: string, idle: number) => void;
  onImages?: (names: Iterable<string>) => void;
  /** Called when memory or a sandbox becomes free. */
  onRoom?: () => void;
}

/** A sandbox that serves one run. */
export interface Lease extends ReadySandbox {
  warm: boolean;
  image: PreparedImage;
  /** The user of its programs. No other sandbox of the machine has the same uid, unless the image names a user. */
  user: { uid: number; gid: number };
  /** Aborts when the node is lost: the sandbox no longer answers. */
  lost: AbortSignal;
  /** Removes the sandbox at the end of the run. Resolves when the engine has confirmed it. */
  release(): Promise<void>;
}

/** After this time a run that found no room and nothing to evict is tried again, ms. */
const fullMs = 500;
/** How long removals may take when katafleet stops, ms. */
const longestCloseMs = 30_000;

/** The sandboxes of one node: leases them to runs, keeps idle ones, and removes leftovers. */
export class NodeSandboxes {
  readonly driver: Driver;
  readonly #options: NodeSandboxesOptions;
  readonly #images: NodeImages;
  readonly #ledger: SandboxLedger;
  readonly #maker: SandboxMaker;
  readonly #pools: NodePools;
  readonly #reaper: NodeReaper;
  readonly #removals: Removals;
  readonly #leases = new Map<ReadySandbox, AbortController>();
  readonly #broken = new BrokenMachines();

  constructor(driver: Driver, options: NodeSandboxesOptions) {
    this.driver = driver;
    this.#options = options;
    const { books, idleMemory, journal, graceMs, onImages, onIdle, onRoom, onTrouble } = options;
    const ledger = new SandboxLedger({ books, uids: options.uids ?? new UidBook(defaultUids), onRoom });
    this.#ledger = ledger;
    const removals = new Removals();
    this.#removals = removals;
    const neighbours = new Neighbours({ driver, ledger, books, onRoom });
    this.#reaper = new NodeReaper({ driver, ledger, removals, neighbours, journal, graceMs, onTrouble });
    this.#maker = new SandboxMaker({
      ...{ driver, books, ledger, removals, neighbours, idleMemory, journal },
      ...{ startMs: options.startMs, lag: options.lag, onStuck: options.onStuck, onFree: options.onFree },
      onDoubt: () => void this.#reaper.reapQuietly(),
    });
    this.#images = new NodeImages({ driver, onImages, onChanged: (names) => this.#renew(names) });
    this.#pools = new NodePools({
      driver,
      maker: this.#maker,
      bounds: options.pool ?? { min: 0, max: 0 },
      startParallelism: options.startParallelism,
      idleMs: options.idleMs ?? 15 * minute,
      onReplaced: (image) => this.#images.forget(image),
      onTrouble,
      onIdle,
    });
  }

  /** How many runs the node has now. */
  get busy(): number {
    return this.#leases.size;
  }

  /** Returns the idle sandboxes of all pools. */
  get idle(): number {
    return this.#pools.idle;
  }

  get images(): readonly NodeImage[] {
    return this.#images.list;
  }

  /** When the image list was last read, Unix ms; 0 if never. */
  get imagesAt(): number {
    return this.#images.at;
  }

  /** Returns the id of an image by its canonical name, from the last image list. */
  imageId(name: string): string | undefined {
    return this.#images.id(name);
  }

  /** Removes leftovers, reads the image list and fills the pools: before the node's first use, and when it is back. @throws engine.* */
  async reconcile(): Promise<void> {
    const { cpus } = await this.driver.probe();
    this.widen(cpus);
    this.#maker.resume();
    await Promise.all([this.reap(), this.refreshImages()]);
    this.#reaper.start();
    this.#pools.resume();
  }

  /** Sets from the node's CPUs how many sandboxes start at once, unless the configuration or the driver sets it. */
  widen(cpus: number): void {
    this.#pools.widen(cpus);
    this.#removals.widen(this.driver.starts);
  }

  /** Replaces the idle sandboxes on machines behind the node that take nothing new, by id or name. */
  leave(machines: ReadonlySet<string>): void {
    this.#pools.leave(machines);
  }

  /** Breaks every stream of a lost node, which ends its runs, and starts nothing. */
  suspend(): void {
    this.#reaper.stop();
    this.#pools.suspend();
    this.breakOff();
    this.#maker.suspend();
    this.driver.disconnect();
  }

  /** Drops what was made ready on the machine of before: another one answers. */
  replaced(): void {
    for (const name of this.#images.forgetAll()) this.#pools.retire(name);
  }

  /** Breaks the streams of running sandboxes after a stop has waited long enough. The node and its pools stay. */
  breakOff(): void {
    for (const [{ sandbox }, lost] of this.#leases) lose(sandbox, lost);
  }

  /** Why nothing is started on the node although its engine answers. */
  get stuck(): KatafleetError | undefined {
    return this.#maker.stuck;
  }

  /** Whether a running sandbox has broken off by itself since then, ms on the steady clock. */
  brokeOffSince(since: number): boolean {
    return this.#broken.last > since;
  }

  /** Whether the pools stay empty, for a drain. */
  empty(emptied: boolean): void {
    this.#pools.empty(emptied);
  }

  /** Reads the engine's image list. @throws engine.* */
  refreshImages(): Promise<void> {
    return this.#images.refresh();
  }

  /** Notes that the engine has reported a change of its images. */
  imagesChanged(): void {
    this.#images.changed();
  }

  /** Replaces the idle sandboxes of rebuilt images. */
  #renew(changed: readonly string[]): void {
    const shapes = changed.flatMap((name) => this.#pools.retire(name));
    for (const shape of shapes) if (this.#images.id(shape.image) !== undefined) void this.#refill(shape);
  }

  async #refill(shape: PoolShape): Promise<void> {
    const bounds = this.#pools.boundsOf(shape);
    if (!bounds || bounds.min === 0) return;
    try {
      await this.target(shape.image, shape.limits, bounds);
    } catch (error) {
      this.#options.onTrouble?.(`no pool of ${shape.image}: ${messageOf(error)}`);
    }
  }

  /** Prepares an image by its canonical name, once, and returns it. @throws image.unknown */
  image(name: string): Promise<PreparedImage> {
    return this.#images.prepare(name);
  }

  /** Returns the idle sandboxes of one pool. */
  idleOf(image: string, limits: SandboxLimits): number {
    return this.#pools.idleOf(image, limits);
  }

  hasPool(image: string, limits: SandboxLimits): boolean {
    return this.#pools.has(image, limits);
  }

  /** Sets the bounds of a pool without asking the engine. Without bounds the pool has those of all pools. */
  bound(image: string, limits: SandboxLimits, bounds: PoolBounds | undefined): void {
    this.#pools.bound({ image, limits }, bounds);
  }

  /** Sets how many idle sandboxes of an image and limits the node keeps. @throws image.unknown, engine.* */
  async target(image: string, limits: SandboxLimits, bounds: PoolBounds): Promise<WarmPool> {
    this.#pools.bound({ image, limits }, bounds);
    const pool = this.#pools.of(await this.image(image), limits);
    pool.resize(bounds);
    return pool;
  }

  /**
   * Leases a sandbox to a run. The caller has booked `granted` bytes for it: its whole limit, or the limit without the memory that an
   * idle sandbox books. From now on the node returns them to the books. If a sandbox must be started, the run's tenant and priority
   * decide when.
   * @throws node.full if the expected idle sandbox is gone, or if the engine has no room for a new one: with a time to try again, unless
   *   sandboxes were evicted for the run; engine.*
   */
  async lease(
    name: string,
    limits: SandboxLimits,
    granted: number,
    signal?: AbortSignal,
    { tenant, priority }: Pick<Placing, 'tenant' | 'priority'> = unplaced,
  ): Promise<Lease> {
    const { books, idleMemory } = this.#options;
    const grant: Grant = { bytes: Math.max(granted, limits.memory), taken: false };
    const claim = { tenant, priority, memory: limits.memory };
    let booked = granted;
    try {
      if (this.#images.stale) await abortable(signal, this.#images.current());
      const { image, pool, ready } = await this.#acquire(name, limits, claim, { signal, grant }, () => {
        if (booked >= limits.memory) return;
        if (!books.reserve(limits.memory - booked)) throw new KatafleetError('node.full', 'an idle sandbox went away before it was taken');
        booked = limits.memory;
      });
      if (ready.warm) {
        const surplus = booked + idleMemory - limits.memory;
        if (surplus > 0) books.release(surplus);
        grant.taken = true;
        this.#ledger.rebook(ready.sandbox.name, booked + idleMemory - Math.max(0, surplus));
      }
      return this.#leaseOf(image, pool, ready);
    } catch (error) {
      if (!grant.taken) books.release(booked);
      else if (error instanceof KatafleetError && error.code === 'node.full') throw await this.#evictFor(name, limits, error);
      throw error;
    }
  }

  #leaseOf(image: PreparedImage, pool: WarmPool, ready: ReadySandbox & { warm: boolean }): Lease {
    const { sandbox } = ready;
    const lost = new AbortController();
    const user = image.user ?? { uid: this.#ledger.uid(sandbox.name, sandbox.node), gid: sandboxGid };
    const release = async () => {
      this.#leases.delete(lease);
      await pool.release(lease);
    };
    const lease: Lease = { ...ready, image, user, lost: lost.signal, release };
    this.#leases.set(lease, lost);
    void sandbox.closed.then(() => {
      if (this.#leases.has(lease)) this.#broken.brokeOff(sandbox.node);
    });
    if (this.#maker.suspended) lose(sandbox, lost); // the node was lost meanwhile
    return lease;
  }

  /** Takes a sandbox from the image's pool, or from the new pool of a rebuilt image. `cold` books the memory that a new one needs. */
  async #acquire(
    name: string,
    limits: SandboxLimits,
    claim: Claim,
    { signal, grant }: { signal: AbortSignal | undefined; grant: Grant },
    cold: () => void,
  ) {
    for (;;) {
      const asked = this.#images.ready(name) ?? this.image(name);
      const image = asked instanceof Promise ? await abortable(signal, asked) : asked;
      if (asked instanceof Promise && !this.#images.isCurrent(name, asked)) continue; // the image was rebuilt meanwhile
      const pool = this.#pools.of(image, limits);
      if (pool.idle === 0) cold();
      try {
        const ready = await pool.acquire(claim, { signal, grant, shuns: ({ node }) => this.#broken.has(node) });
        return { image, pool, ready };
      } catch (error) {
        if (!(error instanceof PoolRetired) || grant.taken) throw error;
      }
    }
  }

  /** Evicts sandboxes for a run that the engine refused. Returns the run's error, with a time to try again if nothing was evicted. */
  async #evictFor(name: string, limits: SandboxLimits, cause: KatafleetError): Promise<KatafleetError> {
    const evicted = await this.#pools.evictFor(name, limits);
    return new KatafleetError('node.full', cause.message, { cause, ...(evicted ? {} : { retryAfterMs: fullMs }) });
  }

  /**
   * Removes idle sandboxes to free so many bytes for a run, and starts none for a while. One of the run's own pool stays for it. Returns
   * the bytes that become free; they are in the books when the engine has confirmed the removals.
   */
  giveWay(bytes: number, pool: string): number {
    return this.#pools.giveWay(bytes, this.#options.idleMemory, pool);
  }

  /** Returns our leftovers on the node, each with its reason. Removes them unless it is a dry run. @throws engine.* */
  reap(dryRun = false): Promise<Doomed[]> {
    return this.#reaper.reap(dryRun);
  }

  async close(): Promise<void> {
    this.#reaper.close();
    this.#maker.close();
    // A node that takes calls and never answers must not block the stop: hanging calls are broken off.
    const begun = performance.now();
    const breaking = setInterval(() => {
      if (this.#maker.suspended || performance.now() - begun > longestCloseMs) this.driver.disconnect();
    }, 250);
    await this.#pools.close();
    clearInterval(breaking);
    if (this.#maker.failed && !this.#maker.suspended) await this.#reaper.reapQuietly(); // containers whose removal failed before
    await this.driver.close();
  }
}

function lose(sandbox: Sandbox, lost: AbortController): void {
  lost.abort(nodeLost());
  sandbox.stream.destroy();
}
