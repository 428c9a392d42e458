import { randomUUID } from 'node:crypto';
import PQueue from 'p-queue';
import { KatafleetError, messageOf } from '../core/errors.ts';
import { formatBytes } from '../core/quantity.ts';
import { labels } from '../core/labels.ts';
import { type Profile, sandboxLimits } from '../core/profile.ts';
import type { Driver, PreparedImage, Sandbox, SandboxSpec } from '../drivers/contract.ts';
import type { PoolBounds } from '../scheduler/targets.ts';
import { ownerOf } from './owner.ts';
import { WarmPool } from './pool.ts';
import { reap } from './reaper.ts';

export interface NodeOptions {
  /** Bounds of each pool that no call of `warm` has set; none idle if absent. */
  pool?: PoolBounds;
  /** Sandboxes started at once on the node; twice its CPUs if absent. */
  startParallelism?: number;
  /** How long an idle sandbox waits before it ends and is replaced, ms. */
  idleMs?: number;
  onTrouble?: (message: string) => void;
}

/** How often what dead owners left is looked for. */
const reapEveryMs = 10_000;
/** How long a sandbox can be needed after it was taken: a day's run and the way back, ms. */
const longestUseMs = 25 * 3_600_000;

/** One node: its driver, its images made ready, its pools. */
export class Node {
  readonly driver: Driver;
  readonly #options: NodeOptions;
  readonly #images = new Map<string, Promise<PreparedImage>>();
  readonly #pools = new Map<string, WarmPool>();
  readonly #starts: PQueue;
  /** Unique to this object: another of the same process leaves our sandboxes alone. */
  readonly #id = randomUUID();
  #made = 0;
  /** Names of the sandboxes that are being made, idle, running or being removed. */
  readonly #inUse = new Set<string>();
  readonly #owner = ownerOf('self');
  #ready: Promise<void> | undefined;
  #reaping: NodeJS.Timeout | undefined;

  constructor(driver: Driver, options: NodeOptions = {}) {
    this.driver = driver;
    this.#options = options;
    this.#starts = new PQueue({ concurrency: options.startParallelism ?? 4 });
  }

  /** Probes the node, sees that it enforces memory limits, and removes what dead owners left. @throws engine.* */
  open(): Promise<void> {
    this.#ready ??= this.#open().catch((error: unknown) => {
      this.#ready = undefined;
      throw error;
    });
    return this.#ready;
  }

  async #open(): Promise<void> {
    const found = await this.driver.probe();
    if (!found.enforces.memory) {
      throw new KatafleetError('engine.limits', `the node ${found.node} does not enforce memory limits: its kernel has no memory cgroup`, {
        hint: 'boot it with cgroup_enable=memory, or use another node',
      });
    }
    this.#starts.concurrency = this.#options.startParallelism ?? 2 * Math.max(1, found.cpus);
    await this.#reapNow();
    // An engine may still be making what a dead owner asked for; what it could not remove stays; and deadlines pass.
    this.#reaping ??= setInterval(() => void this.#reap(), reapEveryMs).unref();
  }

  async #reap(): Promise<void> {
    try {
      await this.#reapNow();
    } catch (error) {
      this.#options.onTrouble?.(`left-over sandboxes could not be removed: ${messageOf(error)}`);
    }
  }

  async #reapNow(): Promise<void> {
    await reap(this.driver, { now: Date.now(), fleet: this.#id, inUse: this.#inUse });
  }

  /** The image, made ready; looked up once and again after {@link forgetImages}. @throws image.unknown */
  image(name: string): Promise<PreparedImage> {
    let image = this.#images.get(name);
    if (!image) {
      image = this.open().then(() => this.driver.prepare(name));
      image.catch(() => this.#images.delete(name));
      this.#images.set(name, image);
    }
    return image;
  }

  /** Forgets the images' ids, for when they were built anew. */
  forgetImages(): void {
    this.#images.clear();
  }

  /** The pool of an image and a profile. @throws limits.invalid when the node has less than the profile asks for */
  async pool(image: PreparedImage, profile: Profile): Promise<WarmPool> {
    const limits = sandboxLimits(profile);
    const key = JSON.stringify([image.id, limits]);
    let pool = this.#pools.get(key);
    if (pool) return pool;
    const { node, memory, cpus } = await this.driver.probe();
    if (memory > 0 && limits.memory > memory) {
      throw new KatafleetError(
        'limits.invalid',
        `memory: ${formatBytes(limits.memory)} asked for; the node ${node} has ${formatBytes(memory)}`,
      );
    }
    if (limits.cpus > cpus) throw new KatafleetError('limits.invalid', `cpus: ${limits.cpus} asked for; the node ${node} has ${cpus}`);
    pool = this.#pools.get(key);
    if (pool) return pool;
    const idleMs = this.#options.idleMs ?? 15 * 60_000;
    const create = (signal: AbortSignal) => this.#create({ image, limits, idleMs }, signal);
    const { onTrouble } = this.#options;
    pool = new WarmPool({
      ...(this.#options.pool ?? { min: 0, max: 0 }),
      create,
      remove: (sandbox) => this.#remove(sandbox),
      starts: this.#starts,
      ...(onTrouble ? { onTrouble } : {}),
    });
    this.#pools.set(key, pool);
    return pool;
  }

  async #create(spec: Omit<SandboxSpec, 'name' | 'labels'>, signal: AbortSignal): Promise<Sandbox> {
    const name = `${this.#id}/${(this.#made += 1)}`;
    this.#inUse.add(name);
    try {
      return await this.driver.create({ ...spec, name, labels: this.#labels(name, Date.now() + spec.idleMs + longestUseMs) }, signal);
    } catch (error) {
      this.#inUse.delete(name);
      throw error;
    }
  }

  /** Whether or not the engine could: nobody needs it any more, and the reaper will try again. */
  async #remove(sandbox: Sandbox): Promise<void> {
    try {
      await sandbox.remove();
    } finally {
      this.#inUse.delete(sandbox.name);
    }
  }

  #labels(name: string, deadline: number): Record<string, string> {
    return {
      [labels.role]: 'sandbox',
      [labels.sandbox]: name,
      [labels.deadline]: String(deadline),
      ...(this.#owner ? { [labels.owner]: this.#owner } : {}),
    };
  }

  async close(): Promise<void> {
    clearInterval(this.#reaping);
    await Promise.all(Array.from(this.#pools.values(), (pool) => pool.close()));
    if (this.#made > 0) await this.#reap(); // what could not be removed before
    this.driver.close();
  }
}
