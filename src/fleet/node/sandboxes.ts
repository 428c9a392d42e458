import { randomUUID } from 'node:crypto';
import { within } from '../../base/deadline.ts';
import { KatafleetError, messageOf } from '../../model/errors.ts';
import { imageIndex } from '../../model/image-name.ts';
import { labels } from '../../model/labels.ts';
import { type Placing, unplaced } from '../../model/placing.ts';
import { poolKey, type SandboxLimits } from '../../model/profile.ts';
import type { Driver, NodeImage, PreparedImage, Sandbox, SandboxSpec } from '../../drivers/contract.ts';
import { defaultUids, sandboxGid } from '../../model/users.ts';
import type { PoolBounds } from '../../scheduler/targets.ts';
import { givingWay } from '../pools/give-way.ts';
import { ownerOf } from './owner.ts';
import { type Grant, PoolRetired, type ReadySandbox, WarmPool } from '../pools/pool.ts';
import { Recent } from './recent.ts';
import { type Doomed, type JournalIdentity, reap, reapPlan } from '../upkeep/reaper.ts';
import { type Claim, Starts } from '../pools/starts.ts';
import { type HeldUid, UidBook } from './uids.ts';

/** Where a node books memory; the scheduler's own books. */
export interface Books {
  /** Whether there was room. Bytes. */
  reserve(bytes: number): boolean;
  release(bytes: number): void;
}

export interface NodeSandboxesOptions {
  books: Books;
  /** Bytes that an idle sandbox books; the supervisor takes less than one MiB, the engine's own processes the rest. */
  idleMemory: number;
  /** Bounds of each pool that nobody has set; none idle if absent. */
  pool?: PoolBounds;
  /** Sandboxes started at once on the node; what its driver says, else twice its CPUs, if absent. */
  startParallelism?: number;
  /** How long an idle sandbox waits before it ends and is replaced, ms. */
  idleMs?: number;
  journal?: JournalIdentity | undefined;
  /** How long what is past its deadline may stay, ms. */
  graceMs?: number;
  /** Shared by all nodes: one machine may stand behind several. */
  uids?: UidBook;
  onTrouble?: (message: string) => void;
  onIdle?: (pool: string, idle: number) => void;
  onImages?: (names: Iterable<string>) => void;
  /** Memory or a sandbox has become free. */
  onRoom?: () => void;
}

/** A sandbox that serves one run. */
export interface Lease extends ReadySandbox {
  warm: boolean;
  image: PreparedImage;
  /** Whom its programs are: nobody else on the machine is, unless the image says whom. */
  user: { uid: number; gid: number };
  /** The node was given up: nobody there answers for the sandbox any more. */
  lost: AbortSignal;
  /** The run is over: the sandbox is destroyed. Resolves when the engine has confirmed it. */
  release(): Promise<void>;
}

/** How often what dead owners left is looked for. */
const reapEveryMs = 10_000;
/** Where the driver says itself how many starts go at once, one that takes longer keeps nobody waiting, ms. */
const turnMs = 2_000;
/** How long pools that gave way start nothing, so that the run gets what they gave, ms. */
const gaveWayMs = 5_000;
/** When it is worth another try where nothing could give way, ms. */
const fullMs = 500;
/** A machine on which a sandbox broke off under its run takes others with it, if it does, within this time, ms. */
const shakenMs = 5_000;
/** How long a run waits for word of images that have just changed, ms. */
const currentMs = 1_000;
/** How long removals may take when katafleet ends, ms. */
const longestCloseMs = 30_000;
/** How long a sandbox can be needed after it was taken: a day's run and the way back, ms. */
const longestUseMs = 25 * 3_600_000;

/** One node's sandboxes: its images made ready, its pools, what they have booked, and what is left over on it. */
export class NodeSandboxes {
  readonly driver: Driver;
  readonly #options: NodeSandboxesOptions;
  readonly #images = new Map<string, Promise<PreparedImage>>();
  /** Those of them that are known already: a warm run waits for nothing, not even a turn of the event loop. */
  readonly #prepared = new Map<string, PreparedImage>();
  readonly #pools = new Map<string, { image: string; id: string; limits: SandboxLimits; memory: number; pool: WarmPool }>();
  /** Pools of images that were built anew or are gone: what was taken from them may still be in use. */
  readonly #retired = new Set<WarmPool>();
  readonly #bounds = new Map<string, PoolBounds>();
  readonly #starts: Starts;
  /** Unique to this object: another of the same process leaves our sandboxes alone. */
  readonly #id = randomUUID();
  #made = 0;
  /** Names of the sandboxes that are being made, idle, running or being removed. */
  readonly #inUse = new Set<string>();
  /** Bytes booked by each sandbox, until its removal is confirmed. */
  readonly #booked = new Map<string, number>();
  /** Uids of the sandboxes that serve, or served and are not confirmed to be gone. */
  readonly #users = new Map<string, HeldUid>();
  readonly #uids: UidBook;
  /** Sandboxes from their creation until their removal is asked for. */
  readonly #living = new Set<Sandbox>();
  readonly #leases = new Map<ReadySandbox, AbortController>();
  /** When a sandbox last broke off under its run, by machine. */
  readonly #shaken = new Map<string, number>();
  readonly #endedSince = new Map<string, number>();
  readonly #owner = ownerOf('self');
  #reaping: NodeJS.Timeout | undefined;
  #inventory: { list: NodeImage[]; names: Map<string, string>; at: number } = { list: [], names: new Map(), at: 0 };
  /** Changes of its images that the engine has told of, and how many of them the inventory knows. */
  #changes = 0;
  #known = 0;
  readonly #looks = new Recent(() => this.#look());
  #suspended = false;
  #emptied = false;
  /** Whether a create or a removal has failed: something may be left over. */
  #failed = false;

  constructor(driver: Driver, options: NodeSandboxesOptions) {
    this.driver = driver;
    this.#options = options;
    this.#uids = options.uids ?? new UidBook(defaultUids);
    this.#starts = new Starts(options.startParallelism ?? 4);
  }

  /** Runs on it now. */
  get busy(): number {
    return this.#leases.size;
  }

  /** Idle sandboxes of all its pools. */
  get idle(): number {
    let sum = 0;
    for (const { pool } of this.#pools.values()) sum += pool.idle;
    return sum;
  }

  get images(): readonly NodeImage[] {
    return this.#inventory.list;
  }

  /** Unix ms of the last look at its images, 0 if never. */
  get imagesAt(): number {
    return this.#inventory.at;
  }

  /** The id of an image by a canonical name, as of the last look. */
  imageId(name: string): string | undefined {
    return this.#inventory.names.get(name);
  }

  /** Before its first use, and when it comes back: removes what is left over, learns its images, fills its pools. @throws engine.* */
  async reconcile(): Promise<void> {
    const { cpus } = await this.driver.probe();
    this.widen(cpus);
    this.#suspended = false;
    await Promise.all([this.reap(), this.refreshImages()]);
    // An engine may still be making what a dead owner asked for; what it could not remove stays; and deadlines pass.
    this.#reaping ??= setInterval(() => void this.#reapQuietly(), reapEveryMs).unref();
    if (!this.#emptied) for (const { pool } of this.#pools.values()) pool.resume();
  }

  /** So many CPUs are there to start sandboxes, unless somebody said how many go at once. */
  widen(cpus: number): void {
    this.#starts.concurrency = Math.max(1, this.#options.startParallelism ?? this.driver.starts ?? 2 * cpus);
  }

  /** Machines behind the node take nothing new any more, by id or name: sandboxes that wait there are replaced elsewhere. */
  leave(machines: ReadonlySet<string>): void {
    for (const { pool } of this.#pools.values()) void pool.dismiss(({ node }) => machines.has(node));
  }

  /** The node is lost: every stream of it breaks, what runs there is lost, its pools stand still. */
  suspend(): void {
    this.#suspended = true;
    clearInterval(this.#reaping);
    this.#reaping = undefined;
    for (const { pool } of this.#pools.values()) pool.suspend();
    this.breakOff();
    for (const sandbox of this.#living) sandbox.stream.destroy(); // those that have not greeted yet
    this.driver.disconnect();
  }

  /** What still runs on it is lost, for an end that has waited long enough; the node itself and its pools stay. */
  breakOff(): void {
    for (const [{ sandbox }, lost] of this.#leases) abandon(sandbox, lost);
  }

  /** Whether its pools are kept empty, for a drain. */
  empty(emptied: boolean): void {
    this.#emptied = emptied;
    for (const { pool } of this.#pools.values()) {
      if (emptied) pool.suspend();
      else if (!this.#suspended) pool.resume();
    }
  }

  /** Asks the engine which images it has. @throws engine.* */
  refreshImages(): Promise<void> {
    return this.#looks.get('anew');
  }

  async #look(): Promise<void> {
    const changes = this.#changes;
    const list = await this.driver.images();
    const names = imageIndex(list);
    const renewed: { image: string; limits: SandboxLimits }[] = [];
    for (const [name, id] of this.#inventory.names) {
      if (names.get(name) !== id) renewed.push(...this.#forgetImage(name)); // it was built anew, or is gone
    }
    this.#inventory = { list, names, at: Date.now() };
    this.#known = Math.max(this.#known, changes);
    this.#options.onImages?.(names.keys());
    for (const { image, limits } of renewed) if (names.has(image)) void this.#renew(image, limits);
  }

  /** The engine has told that its images change: what is known of them is old until they are asked for again. */
  imagesChanged(): void {
    this.#changes += 1;
  }

  /** A run that was asked for after an image was built anew gets the new one: its like of before is not handed out any more. */
  async #current(): Promise<void> {
    if (this.#known >= this.#changes) return;
    // Where the engine is slow to tell, what is known has to do.
    const look = async () => {
      while (this.#known < this.#changes) await this.#looks.get(0);
    };
    await within(currentMs, look).catch(() => undefined);
  }

  /** What waited to be made of an image that was built anew is made of the new one. */
  async #renew(image: string, limits: SandboxLimits): Promise<void> {
    const bounds = this.#bounds.get(poolKey(image, limits));
    if (!bounds || bounds.min === 0) return;
    try {
      await this.target(image, limits, bounds);
    } catch (error) {
      this.#options.onTrouble?.(`no pool of ${image}: ${messageOf(error)}`);
    }
  }

  #forgetImage(name: string): { image: string; limits: SandboxLimits }[] {
    this.#images.delete(name);
    this.#prepared.delete(name);
    const pools: { image: string; limits: SandboxLimits }[] = [];
    for (const [key, { image, limits, pool }] of this.#pools) {
      if (image !== name) continue;
      this.#pools.delete(key);
      pools.push({ image, limits });
      for (const old of this.#retired) if (old.quiet) this.#retired.delete(old);
      this.#retired.add(pool);
      void pool.retire();
    }
    return pools;
  }

  /** The image, made ready; looked up once. Its name is canonical. @throws image.unknown */
  image(name: string): Promise<PreparedImage> {
    let image = this.#images.get(name);
    if (!image) {
      const id = this.#inventory.names.get(name) ?? name;
      image = this.driver.prepare(id).then(
        (prepared) => ({ ...prepared, name }),
        (error: unknown) => {
          throw calledBy(name, id, error);
        },
      );
      this.#images.set(name, image);
      const asked = image;
      const known = () => this.#images.get(name) === asked;
      asked.then(
        (prepared) => known() && this.#prepared.set(name, prepared),
        () => known() && this.#images.delete(name),
      );
    }
    return image;
  }

  /** Idle sandboxes of one pool. */
  idleOf(image: string, limits: SandboxLimits): number {
    return this.#pools.get(poolKey(image, limits))?.pool.idle ?? 0;
  }

  hasPool(image: string, limits: SandboxLimits): boolean {
    return this.#pools.has(poolKey(image, limits));
  }

  /** How many of an image and limits should wait here. @throws image.unknown, engine.* */
  async target(image: string, limits: SandboxLimits, bounds: PoolBounds): Promise<WarmPool> {
    this.#bounds.set(poolKey(image, limits), bounds);
    const pool = this.#pool(await this.image(image), limits);
    pool.resize(bounds);
    return pool;
  }

  #pool(image: PreparedImage, limits: SandboxLimits): WarmPool {
    const key = poolKey(image.name, limits);
    const there = this.#pools.get(key);
    if (there?.id === image.id) return there.pool;
    if (there) this.#forgetImage(image.name); // it was made ready anew
    const idleMs = this.#options.idleMs ?? 15 * 60_000;
    const { onTrouble, onIdle, pool: bounds = { min: 0, max: 0 } } = this.#options;
    const pool = new WarmPool({
      ...(this.#bounds.get(key) ?? bounds),
      create: (signal, grant) => this.#create({ image, limits, idleMs }, signal, grant),
      remove: (sandbox) => this.#remove(sandbox),
      starts: this.#starts,
      ...(this.driver.starts === undefined ? {} : { turnMs }),
      ...(onTrouble ? { onTrouble } : {}),
      ...(onIdle ? { onIdle: (idle) => onIdle(key, idle) } : {}),
    });
    if (this.#emptied || this.#suspended) pool.suspend();
    this.#pools.set(key, { image: image.name, id: image.id, limits, memory: limits.memory, pool });
    return pool;
  }

  /**
   * A sandbox for a run. `granted` bytes have been booked for it: all of its limit, or what an idle sandbox lacks of it.
   * From here on the node gives them back. Where a sandbox must be started, the run's tenant and priority say when. @throws node.full when an idle sandbox was counted on and is gone, or the engine has
   * no room for another, with a time to come back in unless room has been made; engine.*
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
      if (this.#known < this.#changes) await this.#current();
      const { image, pool, ready } = await this.#acquire(name, limits, claim, { signal, grant }, () => {
        if (booked >= limits.memory) return;
        if (!books.reserve(limits.memory - booked)) throw new KatafleetError('node.full', 'an idle sandbox went away before it was taken');
        booked = limits.memory;
      });
      if (ready.warm) {
        const surplus = booked + idleMemory - limits.memory;
        if (surplus > 0) books.release(surplus);
        grant.taken = true;
        this.#booked.set(ready.sandbox.name, booked + idleMemory - Math.max(0, surplus));
      }
      const lost = new AbortController();
      const user = image.user ?? this.#user(ready.sandbox);
      const lease = { ...ready, image, user, lost: lost.signal, release: () => this.#release(pool, lease) };
      this.#leases.set(lease, lost);
      void ready.sandbox.closed.then(() => {
        if (this.#leases.has(lease)) this.#shaken.set(ready.sandbox.node, performance.now());
      });
      if (this.#suspended) abandon(lease.sandbox, lost); // the node was given up meanwhile
      return lease;
    } catch (error) {
      if (!grant.taken) books.release(booked);
      else if (error instanceof KatafleetError && error.code === 'node.full') throw await this.#giveWay(name, limits, error);
      throw error;
    }
  }

  #user({ name, node: machine }: Sandbox): Lease['user'] {
    const held = this.#uids.take(machine);
    this.#users.set(name, held);
    return { uid: held.uid, gid: sandboxGid };
  }

  /** From the image's pool; where that was renewed before the sandbox was begun, from the new one. `cold` books what a new sandbox lacks. */
  async #acquire(
    name: string,
    limits: SandboxLimits,
    claim: Claim,
    { signal, grant }: { signal: AbortSignal | undefined; grant: Grant },
    cold: () => void,
  ) {
    for (;;) {
      const asked = this.#prepared.get(name) ?? this.image(name);
      const image = asked instanceof Promise ? await asked : asked;
      if (asked instanceof Promise && this.#images.get(name) !== asked) continue; // it was built anew meanwhile
      const pool = this.#pool(image, limits);
      if (pool.idle === 0) cold();
      try {
        const ready = await pool.acquire(claim, { signal, grant, shuns: ({ node }) => this.#isShaken(node) });
        return { image, pool, ready };
      } catch (error) {
        if (!(error instanceof PoolRetired) || grant.taken) throw error;
      }
    }
  }

  /** The next attempt at a run is not to be lost with the same machine, whose other sandboxes may end one by one. */
  #isShaken(machine: string): boolean {
    const since = this.#shaken.get(machine);
    if (since === undefined) return false;
    if (performance.now() - since < shakenMs) return true;
    this.#shaken.delete(machine);
    return false;
  }

  /** A run found no room although the books say that there is: other pools' idle sandboxes keep more than they book, and go. */
  async #giveWay(name: string, limits: SandboxLimits, cause: KatafleetError): Promise<KatafleetError> {
    const own = poolKey(name, limits);
    const others = Array.from(this.#pools).flatMap(([key, { pool, memory }]) => (key === own ? [] : [{ pool, memory }]));
    const idle = others.flatMap(({ pool, memory }) => pool.sandboxes.map((sandbox) => ({ sandbox, machine: sandbox.node, memory })));
    const going = new Set(givingWay(idle, limits.memory).map(({ sandbox }) => sandbox));
    await Promise.all(others.map(({ pool }) => pool.dismiss((sandbox) => going.has(sandbox), gaveWayMs)));
    return new KatafleetError('node.full', cause.message, { cause, ...(going.size > 0 ? {} : { retryAfterMs: fullMs }) });
  }

  async #release(pool: WarmPool, lease: ReadySandbox): Promise<void> {
    this.#leases.delete(lease);
    await pool.release(lease);
  }

  async #create(spec: Omit<SandboxSpec, 'name' | 'labels'>, signal: AbortSignal, grant?: Grant): Promise<Sandbox> {
    const { books, idleMemory } = this.#options;
    if (this.#suspended) throw givenUp();
    if (!grant && !books.reserve(idleMemory)) throw new KatafleetError('node.full', 'no memory is free for an idle sandbox');
    if (grant) grant.taken = true;
    const name = `${this.#id}/${(this.#made += 1)}`;
    this.#inUse.add(name);
    this.#booked.set(name, grant ? grant.bytes : idleMemory);
    try {
      const wanted = { ...spec, name, labels: this.#labels(name, Date.now() + spec.idleMs + longestUseMs) };
      const sandbox = await this.driver.create(wanted, signal);
      this.#living.add(sandbox);
      if (this.#suspended) sandbox.stream.destroy();
      return sandbox;
    } catch (error) {
      this.#doubt(name, error);
      throw error;
    }
  }

  /** Whether or not the engine could: nobody needs it any more, and the reaper will try again. */
  async #remove(sandbox: Sandbox): Promise<void> {
    this.#living.delete(sandbox);
    try {
      await sandbox.remove();
      this.#inUse.delete(sandbox.name);
      this.#unbook(sandbox.name);
    } catch (error) {
      this.#failed = true;
      this.#inUse.delete(sandbox.name);
      throw error;
    }
  }

  /** A create that failed may have left a container, unless the engine itself said no: its memory is booked until the reaper knows. */
  #doubt(name: string, error: unknown): void {
    this.#failed = true;
    this.#inUse.delete(name);
    const refused =
      error instanceof KatafleetError && ['engine.failed', 'engine.disk_full', 'image.unknown', 'node.full'].includes(error.code);
    if (refused) this.#unbook(name);
    else if (!this.#suspended) void this.#reapQuietly();
  }

  #unbook(name: string): void {
    const bytes = this.#booked.get(name);
    if (bytes === undefined) return;
    this.#booked.delete(name);
    this.#options.books.release(bytes);
    this.#users.get(name)?.giveBack();
    this.#users.delete(name);
    this.#options.onRoom?.();
  }

  async #reapQuietly(): Promise<void> {
    try {
      await this.reap();
    } catch (error) {
      this.#options.onTrouble?.(`left-over sandboxes could not be removed: ${messageOf(error)}`);
    }
  }

  /** What of ours on the node is left over, and why. Removes it unless it is a dry run. @throws engine.* */
  async reap(dryRun = false): Promise<Doomed[]> {
    const { journal, graceMs } = this.#options;
    const doubtful = Array.from(this.#booked.keys()).filter((name) => !this.#inUse.has(name));
    const view = {
      now: Date.now(),
      fleet: this.#id,
      inUse: this.#inUse,
      journal,
      endedSince: this.#endedSince,
      graceMs: graceMs ?? 60_000,
    };
    if (dryRun) return reapPlan(this.driver, view);
    const { removed, left } = await reap(this.driver, view);
    for (const { id, error } of left) this.#options.onTrouble?.(`the container ${id.slice(0, 12)} stays: ${error.message}`);
    for (const name of doubtful) if (!left.some((one) => one.name === name)) this.#unbook(name);
    return removed;
  }

  #labels(name: string, deadline: number): Record<string, string> {
    const { journal } = this.#options;
    return {
      [labels.role]: 'sandbox',
      [labels.sandbox]: name,
      [labels.deadline]: String(deadline),
      ...(this.#owner ? { [labels.owner]: this.#owner } : {}),
      ...(journal ? { [labels.fleet]: journal.identity, [labels.epoch]: String(journal.epoch) } : {}),
    };
  }

  async close(): Promise<void> {
    clearInterval(this.#reaping);
    // A node that takes calls and answers none must not hold up the end: what hangs is broken off.
    const begun = performance.now();
    const breaking = setInterval(() => {
      if (this.#suspended || performance.now() - begun > longestCloseMs) this.driver.disconnect();
    }, 250);
    await Promise.all([...Array.from(this.#pools.values(), ({ pool }) => pool), ...this.#retired].map((pool) => pool.close()));
    clearInterval(breaking);
    if (this.#failed && !this.#suspended) await this.#reapQuietly(); // what could not be removed before
    await this.driver.close();
  }
}

function abandon(sandbox: Sandbox, lost: AbortController): void {
  lost.abort(givenUp());
  sandbox.stream.destroy();
}

const givenUp = () => new KatafleetError('node.lost', 'the node was given up');

/** An error about an image by the name that it was asked for by: its id tells a person nothing. */
function calledBy(name: string, id: string, error: unknown): unknown {
  if (!(error instanceof KatafleetError) || !error.message.includes(id) || id === name) return error;
  const { code, message, hint, retryAfterMs } = error;
  return new KatafleetError(code, message.replaceAll(id, name), {
    cause: error,
    ...(hint === undefined ? {} : { hint: hint.replaceAll(id, name) }),
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  });
}
