import assert from 'node:assert/strict';
import { KatafleetError } from '../../src/model/errors.ts';
import type { Sandbox } from '../../src/drivers/contract.ts';
import { type Grant, WarmPool } from '../../src/fleet/pools/pool.ts';
import type { ReadySandbox } from '../../src/fleet/pools/ready-sandbox.ts';
import { type Claim, Starts } from '../../src/fleet/pools/starts.ts';
import type { Conversation } from '../../src/protocol/conversation.ts';
import type { Cluster } from '../../src/scheduler/place/cluster.ts';
import type { PoolBounds } from '../../src/scheduler/targets.ts';
import type { VirtualClock } from './clock.ts';
import { cpus, latencies } from './latencies.ts';

export const idleMemory = 16 * 1024 ** 2;
/** As in src/fleet/pools/node-pools.ts. */
const evictionPauseMs = 5_000;

export interface NodeOptions {
  clock: VirtualClock;
  cluster: Cluster;
  random: () => number;
  bounds: PoolBounds;
  /** How many times slower than others. */
  slowness: number;
  onIdle: (change: number) => void;
  onMade: () => void;
  /** The limits of its containers together have changed, bytes. */
  onBooked: (change: number) => void;
  onRoom: () => void;
}

/** A container as the engine has it: what it may take of the node's memory, and what the books say. */
interface Container {
  limit: number;
  booked: number;
  close: () => void;
}

/** A node: the real pools over an engine that takes as long as the real one was measured to take. */
export class SimulatedNode {
  readonly name: string;
  readonly #options: NodeOptions;
  readonly #pools = new Map<string, { pool: WarmPool; idle: number }>();
  readonly #bounds = new Map<string, PoolBounds>();
  readonly #starts: Starts;
  readonly #containers = new Map<string, Container>();
  /** Breaks off what is under way. */
  readonly #underWay = new Set<() => void>();
  #state: 'up' | 'dead' | 'frozen' = 'up';
  #running = 0;
  #creating = 0;
  #made = 0;
  #limits = 0;
  /** The most that the limits of all containers together ever were, of the memory that may be booked. */
  highestShare = 0;

  constructor(name: string, options: NodeOptions) {
    this.name = name;
    this.#options = options;
    this.#starts = new Starts(2 * cpus, options.clock);
  }

  /** Bounds of a pool that was configured. */
  target(pool: string, bounds: PoolBounds): void {
    this.#bounds.set(pool, bounds);
    if (bounds.max > 0 || this.#pools.has(pool)) this.#pool(pool).resize(bounds);
  }

  #pool(key: string): WarmPool {
    const there = this.#pools.get(key);
    if (there) return there.pool;
    const { clock, cluster, onIdle, bounds } = this.#options;
    const entry = { idle: 0 };
    const pool = new WarmPool({
      ...(this.#bounds.get(key) ?? bounds),
      create: (_signal, grant) => this.#create(grant),
      remove: (sandbox) => this.#remove(sandbox.name),
      greet: (sandbox) => Promise.resolve(this.#conversation(sandbox.name)),
      starts: this.#starts,
      clock,
      onIdle: (idle) => {
        onIdle(idle - entry.idle);
        entry.idle = idle;
        cluster.setIdle(this.name, key, idle);
      },
    });
    this.#pools.set(key, Object.assign(entry, { pool }));
    return pool;
  }

  /** A supervisor that ends when it is told to; nothing else is ever said to it. */
  #conversation(name: string): Conversation {
    const { close } = this.#containers.get(name) ?? assert.fail();
    return { send: async () => close() } as unknown as Conversation;
  }

  /** As src/fleet/node/sandboxes.ts leases: `granted` bytes have been booked, and from here on the node gives them back. */
  async lease(key: string, claim: Claim, granted: number): Promise<ReadySandbox & { warm: boolean; release: () => void }> {
    const { cluster } = this.#options;
    const { memory } = claim;
    const grant: Grant = { bytes: Math.max(granted, memory), taken: false };
    let booked = granted;
    try {
      const pool = this.#pool(key);
      if (pool.idle === 0 && booked < memory) {
        if (!cluster.reserve(this.name, memory - booked)) throw new KatafleetError('node.full', 'an idle sandbox went away');
        booked = memory;
      }
      const ready = await pool.acquire(claim, { grant });
      if (ready.warm) {
        const surplus = booked + idleMemory - memory;
        if (surplus > 0) cluster.release(this.name, surplus);
        grant.taken = true;
        const container = this.#containers.get(ready.sandbox.name) ?? assert.fail();
        container.booked = memory;
        this.#limit(memory - container.limit);
        container.limit = memory;
      }
      return { ...ready, release: () => void pool.release(ready).catch(() => undefined) };
    } catch (error) {
      if (!grant.taken) cluster.release(this.name, booked);
      throw error;
    }
  }

  /** As src/fleet/pools/node-pools.ts: removes idle sandboxes to free so many bytes; one of the pool `own` stays. */
  giveWay(bytes: number, own: string): void {
    let left = bytes;
    for (const [key, { pool }] of this.#pools) {
      const going = new Set<Sandbox>();
      for (const sandbox of pool.sandboxes.slice(key === own ? 1 : 0)) {
        if (left <= 0) break;
        left -= idleMemory;
        going.add(sandbox);
      }
      if (going.size > 0) void pool.dismiss((sandbox) => going.has(sandbox), evictionPauseMs);
    }
  }

  /** Whether a program came to its end. The more run, the longer each takes. */
  async execute(workMs: number): Promise<boolean> {
    this.#running += 1;
    const done = await this.#take(latencies.handOver + workMs * this.#crowd());
    this.#running -= 1;
    return done;
  }

  /** How much longer than alone a program takes that begins now. Creations share one CPU's time among them, as they were measured to. */
  #crowd(): number {
    return this.#options.slowness * Math.max(1, (this.#running + Math.min(1, this.#creating)) / cpus);
  }

  /** Lets time pass; false when the engine died meanwhile. */
  #take(ms: number): Promise<boolean> {
    if (this.#state === 'dead') return Promise.resolve(false);
    return new Promise((resolve) => {
      const broken = () => resolve(false);
      this.#underWay.add(broken);
      this.#options.clock.after(ms, () => {
        if (this.#state === 'up' && this.#underWay.delete(broken)) resolve(true);
      });
    });
  }

  async #create(grant?: Grant): Promise<Sandbox> {
    const { cluster, onMade } = this.#options;
    if (!grant && !cluster.reserveIdle(this.name, idleMemory))
      throw new KatafleetError('node.full', 'no memory is free for an idle sandbox');
    if (grant) grant.taken = true;
    const name = `${this.name}/${(this.#made += 1)}`;
    let close = () => {};
    const closed = new Promise<void>((resolve) => (close = resolve));
    const booked = grant ? grant.bytes : idleMemory;
    this.#containers.set(name, { limit: booked, booked, close });
    this.#limit(booked);
    this.#creating += 1;
    const made = await this.#take(latencies.create * this.#creating * this.#crowd());
    this.#creating -= 1;
    if (!made) throw new KatafleetError('engine.unreachable', 'the engine is gone');
    onMade();
    const stream = { end: () => undefined, destroy: () => undefined };
    return { id: name, name, node: this.name, stream, closed } as unknown as Sandbox;
  }

  async #remove(name: string): Promise<void> {
    const { random } = this.#options;
    const { least, most } = latencies.remove;
    if (!(await this.#take(least + random() * (most - least)))) throw new KatafleetError('engine.unreachable', 'the engine is gone');
    this.#gone(name);
  }

  #gone(name: string): void {
    const container = this.#containers.get(name);
    if (!container) return;
    this.#containers.delete(name);
    this.#limit(-container.limit);
    this.#options.cluster.release(this.name, container.booked);
    this.#options.onRoom();
  }

  /** The containers may take so much more, or less. Never more than the node has: that is what all the booking is for. */
  #limit(more: number): void {
    this.#limits += more;
    this.#options.onBooked(more);
    const { memory, booked } = this.#options.cluster.node(this.name) ?? assert.fail();
    this.highestShare = Math.max(this.highestShare, this.#limits / memory);
    assert.ok(this.#limits <= memory, `${this.name}: containers may take ${this.#limits} bytes of ${memory}`);
    assert.ok(booked <= memory, `${this.name}: ${booked} bytes are booked of ${memory}`);
  }

  /** The engine dies, and what is under way breaks off; or it freezes, and nobody knows. */
  fail(how: 'dead' | 'frozen'): void {
    this.#state = how;
    if (how === 'dead') this.#break();
  }

  #break(): void {
    for (const broken of this.#underWay) broken();
    this.#underWay.clear();
  }

  /** katafleet has given it up. What it had may still be there. */
  suspend(): void {
    this.#state = 'dead';
    this.#break();
    for (const { pool } of this.#pools.values()) pool.suspend();
  }

  /** It is back: what it had is reaped, and its pools fill again. */
  reconcile(): void {
    this.#state = 'up';
    for (const name of Array.from(this.#containers.keys())) this.#gone(name);
    for (const { pool } of this.#pools.values()) pool.resume();
  }
}
