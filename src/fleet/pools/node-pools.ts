import type { Driver, PreparedImage, Sandbox } from '../../drivers/contract.ts';
import { poolKey, type SandboxLimits } from '../../model/profile.ts';
import type { PoolBounds } from '../../scheduler/targets.ts';
import type { SandboxMaker } from '../node/sandbox-maker.ts';
import { evictions } from './evictions.ts';
import { WarmPool } from './pool.ts';
import { Starts } from './starts.ts';

export interface NodePoolsOptions {
  driver: Driver;
  maker: SandboxMaker;
  /** Bounds of each pool without bounds of its own. */
  bounds: PoolBounds;
  /** How many sandboxes may start at once on the node. If absent, as many as its driver says, else twice its CPUs. */
  startParallelism?: number | undefined;
  /** How long an idle sandbox waits before it ends and is replaced, ms. */
  idleMs: number;
  /** Called when an image has another id than its pool's: it must be prepared again. */
  onReplaced: (image: string) => void;
  onTrouble?: ((message: string) => void) | undefined;
  onIdle?: ((pool: string, idle: number) => void) | undefined;
}

/** The image and limits of a pool's sandboxes. */
export interface PoolShape {
  image: string;
  limits: SandboxLimits;
}

/** If the driver itself limits concurrent starts, a start gives its slot back after this time, ms. */
const turnMs = 2_000;
/** How long pools start nothing after an eviction, so that the run gets the memory, ms. */
const evictionPauseMs = 5_000;
/** From so many pools on, those without sandboxes and without demand are forgotten: callers' limits make pools. */
const manyPools = 64;

/** The pools of idle sandboxes on one node, one for each image and limits. */
export class NodePools {
  readonly #options: NodePoolsOptions;
  readonly #pools = new Map<string, PoolShape & { id: string; pool: WarmPool }>();
  /** Pools of images that were rebuilt or removed: runs may still use their sandboxes. */
  readonly #retired = new Set<WarmPool>();
  readonly #bounds = new Map<string, PoolBounds>();
  readonly #starts: Starts;
  #emptied = false;

  constructor(options: NodePoolsOptions) {
    this.#options = options;
    this.#starts = new Starts(options.startParallelism ?? 4);
  }

  /** Returns the idle sandboxes of all pools. */
  get idle(): number {
    let sum = 0;
    for (const { pool } of this.#pools.values()) sum += pool.idle;
    return sum;
  }

  /** Returns the idle sandboxes of one pool. */
  idleOf(image: string, limits: SandboxLimits): number {
    return this.#pools.get(poolKey(image, limits))?.pool.idle ?? 0;
  }

  has(image: string, limits: SandboxLimits): boolean {
    return this.#pools.has(poolKey(image, limits));
  }

  /** Sets from the node's CPUs how many sandboxes start at once, unless the configuration or the driver sets it. */
  widen(cpus: number): void {
    const { startParallelism, driver } = this.#options;
    this.#starts.concurrency = Math.max(1, startParallelism ?? driver.starts ?? 2 * cpus);
  }

  /** Sets the bounds of a pool, which follows in the background if it is there. Without bounds it has those of all pools. */
  bound({ image, limits }: PoolShape, bounds: PoolBounds | undefined): void {
    const key = poolKey(image, limits);
    if (bounds) this.#bounds.set(key, bounds);
    else this.#bounds.delete(key);
    this.#pools.get(key)?.pool.resize(bounds ?? this.#options.bounds);
  }

  boundsOf({ image, limits }: PoolShape): PoolBounds | undefined {
    return this.#bounds.get(poolKey(image, limits));
  }

  /** Returns the pool of an image and limits; makes it if it is missing. */
  of(image: PreparedImage, limits: SandboxLimits): WarmPool {
    const key = poolKey(image.name, limits);
    const there = this.#pools.get(key);
    if (there?.id === image.id) return there.pool;
    if (there) {
      this.#options.onReplaced(image.name);
      this.retire(image.name);
    }
    const { driver, maker, bounds, idleMs, onTrouble, onIdle } = this.#options;
    const pool = new WarmPool({
      ...(this.#bounds.get(key) ?? bounds),
      create: (signal, grant) => maker.create({ image, limits, idleMs }, signal, grant),
      remove: (sandbox) => maker.remove(sandbox),
      starts: this.#starts,
      ...(driver.starts === undefined ? {} : { turnMs }),
      ...(onTrouble ? { onTrouble } : {}),
      ...(onIdle ? { onIdle: (idle) => onIdle(key, idle) } : {}),
    });
    if (this.#emptied || maker.suspended) pool.suspend();
    if (this.#pools.size >= manyPools) this.#forgetEmpty();
    this.#pools.set(key, { image: image.name, id: image.id, limits, pool });
    return pool;
  }

  #forgetEmpty(): void {
    for (const [key, { pool }] of this.#pools) {
      if (this.#bounds.has(key) || !pool.quiet || pool.idle > 0 || pool.target > 0) continue;
      this.#pools.delete(key);
      void pool.retire();
    }
  }

  /** Closes the pools of an image. Runs keep their sandboxes. Returns the shapes of the closed pools. */
  retire(name: string): PoolShape[] {
    const shapes: PoolShape[] = [];
    for (const [key, { image, limits, pool }] of this.#pools) {
      if (image !== name) continue;
      this.#pools.delete(key);
      shapes.push({ image, limits });
      for (const old of this.#retired) if (old.quiet) this.#retired.delete(old);
      this.#retired.add(pool);
      void pool.retire();
    }
    return shapes;
  }

  /** Replaces the idle sandboxes on machines behind the node, given by id or name. */
  leave(machines: ReadonlySet<string>): void {
    for (const { pool } of this.#pools.values()) void pool.dismiss(({ node }) => machines.has(node));
  }

  /** Removes all idle sandboxes and starts none, until {@link resume}. */
  suspend(): void {
    for (const { pool } of this.#pools.values()) pool.suspend();
  }

  /** Fills the pools again, unless they must stay empty. */
  resume(): void {
    if (!this.#emptied) for (const { pool } of this.#pools.values()) pool.resume();
  }

  /** Whether the pools stay empty, for a drain. */
  empty(emptied: boolean): void {
    this.#emptied = emptied;
    for (const { pool } of this.#pools.values()) {
      if (emptied) pool.suspend();
      else if (!this.#options.maker.suspended) pool.resume();
    }
  }

  /**
   * Removes idle sandboxes of other pools, because a run found no room although the books show some: the sandboxes take more memory
   * than they book. Returns whether there were any.
   */
  async evictFor(image: string, limits: SandboxLimits): Promise<boolean> {
    const own = poolKey(image, limits);
    const others = Array.from(this.#pools).flatMap(([key, one]) => (key === own ? [] : [one]));
    const idle = others.flatMap(({ pool, limits: { memory } }) =>
      pool.sandboxes.map((sandbox) => ({ sandbox, machine: sandbox.node, memory })),
    );
    const going = new Set<Sandbox>(evictions(idle, limits.memory).map(({ sandbox }) => sandbox));
    await Promise.all(others.map(({ pool }) => pool.dismiss((sandbox) => going.has(sandbox), evictionPauseMs)));
    return going.size > 0;
  }

  /**
   * Removes idle sandboxes, each of which books `each` bytes, to free `bytes` for a run; those first that their pools want least. One
   * of the pool `own` stays for the run. Returns the bytes that become free.
   */
  giveWay(bytes: number, each: number, own: string): number {
    const idle = Array.from(this.#pools).flatMap(([key, { pool }]) => {
      const spared = key === own ? 1 : 0;
      const surplus = pool.idle - pool.target;
      return pool.sandboxes
        .slice(spared)
        .map((sandbox, at) => ({ pool, sandbox, machine: sandbox.node, memory: each, surplus: surplus - at }));
    });
    const going = evictions(
      idle.sort((a, b) => b.surplus - a.surplus),
      bytes,
    );
    const sandboxes = new Set<Sandbox>(going.map(({ sandbox }) => sandbox));
    // The pool reports a removal that fails.
    for (const pool of new Set(going.map((one) => one.pool))) void pool.dismiss((sandbox) => sandboxes.has(sandbox), evictionPauseMs);
    return going.length * each;
  }

  /** Removes all idle sandboxes and waits for starts and removals under way. */
  async close(): Promise<void> {
    await Promise.all([...Array.from(this.#pools.values(), ({ pool }) => pool), ...this.#retired].map((pool) => pool.close()));
  }
}
