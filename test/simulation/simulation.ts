import assert from 'node:assert/strict';
import { GiB } from '../../src/base/units.ts';
import { KatafleetError } from '../../src/model/errors.ts';
import { Cluster } from '../../src/scheduler/place/cluster.ts';
import type { Wanted } from '../../src/scheduler/place/placement.ts';
import type { QueueEntry } from '../../src/scheduler/queue/entry.ts';
import { FairQueue } from '../../src/scheduler/queue/queue.ts';
import { type Placed, Scheduler } from '../../src/scheduler/scheduler.ts';
import { shareTargets } from '../../src/scheduler/shares.ts';
import { seeded } from '../support/random.ts';
import { VirtualClock } from './clock.ts';
import { cpus, health, latencies } from './latencies.ts';
import { Measures, type Report, windowMs } from './measures.ts';
import { idleMemory, SimulatedNode } from './node.ts';
import type { Variant } from './policies.ts';
import { imageCount, popularity, type Press } from './workload.ts';

/** Defaults of the configuration: src/config/schema.ts. */
const [queueLimits, queueMs, attempts] = [{ runs: 10_000, bytes: Infinity, perTenant: 5_000 }, 60_000, 3];
const tickMs = 100;
/** As src/runs/job.ts: the time of a step by default, and a minute for its files. */
const longestMs = 70_000;
const retargetMs = 60_000;
/** Images that every node has; the others are on most. */
const [everywhere, most] = [10, 0.6];
/** Share of the nodes that are slow, and how much slower; of those that are lost once, half of them frozen; for how long. */
const faults = { slow: 0.03, slowness: 4, lost: 0.2, awayMs: { least: 60_000, most: 600_000 } };

interface Ticket {
  press: Press;
  attempts: number;
  avoid: Set<string>;
}

export interface SimulationOptions {
  nodes: number;
  presses: readonly Press[];
  seed: number;
  onProgress?: (ended: number) => void;
  /** Called with the time that the scheduler took for each run that it placed, ms. */
  onDecision?: (ms: number) => void;
}

/** A school day in virtual time: real queue, scheduler, books and pools; nodes and people are made up. */
export class Simulation {
  readonly #clock = new VirtualClock();
  readonly #cluster = new Cluster();
  readonly #nodes = new Map<string, SimulatedNode>();
  readonly #random: () => number;
  readonly #scheduler: Scheduler<Ticket>;
  readonly #variant: Variant;
  readonly #options: SimulationOptions;
  readonly #measures: Measures;
  readonly #images = new Map<string, Set<string>>();
  /** Runs that have not ended; each may end once. */
  readonly #open = new Set<Press>();
  #next = 0;
  #ticking = false;
  #booked = 0;
  #memory = 0;

  constructor(variant: Variant, options: SimulationOptions) {
    this.#variant = variant;
    this.#options = options;
    this.#random = seeded(options.seed);
    this.#measures = new Measures(options.presses);
    const queue = new FairQueue<Ticket>(queueLimits);
    this.#scheduler = new Scheduler(queue, this.#cluster, wantedOf, { policy: { pack: variant.pack }, random: this.#random });
  }

  async run(): Promise<Report> {
    for (let index = 0; index < this.#options.nodes; index += 1) this.#addNode(`node-${index}`);
    this.#retarget();
    this.#arrive();
    this.#window();
    const total = this.#options.presses.length;
    const step = Math.ceil(total / 20);
    let told = 0;
    await this.#clock.run(() => {
      const { ended } = this.#measures;
      if (ended >= told + step) this.#options.onProgress?.((told = ended));
      return ended === total;
    });
    assert.equal(this.#measures.ended, total, 'every run has ended');
    assert.deepEqual([this.#open.size, this.#scheduler.queue.size], [0, 0]);
    const nodeShare = Math.max(...Array.from(this.#nodes.values(), ({ highestShare }) => highestShare));
    return this.#measures.report(this.#clock.now(), idleMemory, nodeShare);
  }

  #addNode(name: string): void {
    const random = this.#random;
    const memory = ([2, 4, 8][Math.floor(random() * 3)] ?? 4) * 0.9 * GiB;
    this.#memory += memory;
    const labels = { disk: random() < 0.5 ? 'ssd' : 'hdd' };
    this.#cluster.setNode({
      name,
      probed: true,
      architecture: 'amd64',
      labels,
      cpus,
      memory,
      total: memory / 0.9,
      driver: 'engine',
      networks: ['rsync', 'profile'],
      severalMachines: false,
      memoryLimits: 'enforced',
      canObtain: true,
    });
    this.#cluster.setHealth(name, 'ready');
    const images = Array.from({ length: imageCount }, (_, image) => image).filter((image) => image < everywhere || random() < most);
    this.#images.set(name, new Set(images.map(String)));
    this.#cluster.setImages(name, images.map(String));
    const node = new SimulatedNode(name, {
      clock: this.#clock,
      cluster: this.#cluster,
      random,
      bounds: this.#variant.perNode,
      slowness: random() < faults.slow ? faults.slowness : 1,
      onIdle: (change) => this.#measures.idle(change, this.#clock.now()),
      onMade: () => (this.#measures.made += 1),
      onBooked: (change) => {
        this.#booked += change;
        this.#measures.fleetShare = Math.max(this.#measures.fleetShare, this.#booked / this.#memory);
      },
      onRoom: () => this.#pump(),
    });
    this.#nodes.set(name, node);
    if (random() < faults.lost) this.#clock.after(random() * (this.#options.presses.at(-1)?.at ?? 0), () => this.#lose(node));
  }

  /** The engine of a node dies or freezes; katafleet finds out by and by, and some time it is back. */
  #lose(node: SimulatedNode): void {
    const frozen = this.#random() < 0.5;
    node.fail(frozen ? 'frozen' : 'dead');
    const look = health.intervalMs + (frozen ? health.timeoutMs : 0);
    const noticed = this.#random() * look;
    const downAfter = noticed + (health.failures - 1) * look;
    this.#clock.after(noticed, () => this.#cluster.setHealth(node.name, 'suspect'));
    this.#clock.after(downAfter, () => {
      this.#cluster.setHealth(node.name, 'down');
      node.suspend();
      this.#pump();
    });
    const { least, most: longest } = faults.awayMs;
    this.#clock.after(downAfter + least + this.#random() * (longest - least), () => {
      node.reconcile();
      this.#cluster.setHealth(node.name, 'ready');
      this.#share();
      this.#pump();
    });
  }

  #retarget(): void {
    if (!this.#variant.fleet) return;
    this.#share();
    this.#clock.after(retargetMs, () => this.#retarget());
  }

  /** As src/fleet/fleet.ts shares its configured pools out. */
  #share(): void {
    const { fleet } = this.#variant;
    if (!fleet) return;
    for (const [image, part] of popularity.entries()) {
      const able = Array.from(this.#cluster.nodes()).filter((node) => node.health === 'ready' && node.images.has(String(image)));
      const nodes = able.map((node) => ({ name: node.facts.name, weight: node.memory }));
      for (const [memory, share] of [
        [0.5 * GiB, 0.8 * part],
        [GiB, 0.2 * part],
      ] as const) {
        const pool = poolOf(image, memory);
        const total = (perNode: number) => Math.round(perNode * this.#nodes.size * share);
        const [min, max] = [shareTargets(pool, total(fleet.min), nodes), shareTargets(pool, total(fleet.max), nodes)];
        for (const [name, node] of this.#nodes) {
          const least = min.get(name) ?? 0;
          node.target(pool, { min: least, max: Math.max(least, max.get(name) ?? 0) });
        }
      }
    }
  }

  /** All that have pressed by now; comes back for the next. */
  #arrive(): void {
    const { presses } = this.#options;
    for (let press = presses[this.#next]; press && press.at <= this.#clock.now(); press = presses[this.#next]) {
      this.#next += 1;
      this.#open.add(press);
      this.#submit(press, `run-${this.#next}`);
    }
    this.#pump();
    const later = presses[this.#next];
    if (later) this.#clock.after(later.at - this.#clock.now(), () => this.#arrive());
  }

  #submit(press: Press, id: string): void {
    const now = this.#clock.now();
    const { tenant, image, memory, constraints } = press;
    const admission = this.#scheduler.queue.admit({
      id,
      tenant: this.#variant.unfair ? 'all' : tenant,
      priority: 5,
      memory,
      bytes: 0,
      shape: [image, memory, ...constraints].join(),
      since: now,
      deadline: now + queueMs,
      value: { press, attempts: 0, avoid: new Set() },
    });
    if (admission.admitted) {
      this.#measures.waits(tenant);
      this.#tick();
      return;
    }
    this.#measures.refusals += 1;
    this.#clock.after(admission.retryAfterMs, () => {
      this.#submit(press, id);
      this.#pump();
    });
  }

  /** While runs wait: deadlines, patience and aging pass. */
  #tick(): void {
    if (this.#ticking) return;
    this.#ticking = true;
    this.#clock.after(tickMs, () => {
      this.#ticking = false;
      for (const { id, value } of this.#scheduler.queue.expired(this.#clock.now())) {
        this.#scheduler.forget(id);
        this.#measures.expired += 1;
        this.#measures.placed(value.press.tenant, 0);
        this.#end(value.press);
      }
      this.#pump();
      if (this.#scheduler.queue.size > 0) this.#tick();
    });
  }

  #window(): void {
    this.#measures.window();
    this.#clock.after(windowMs, () => this.#window());
  }

  #decide(now: number): ReturnType<Scheduler<Ticket>['next']> {
    const { onDecision } = this.#options;
    if (!onDecision) return this.#scheduler.next(now);
    const began = performance.now();
    const next = this.#scheduler.next(now);
    if (next) onDecision(performance.now() - began);
    return next;
  }

  #pump(): void {
    const now = this.#clock.now();
    for (let next = this.#decide(now); next; next = this.#decide(now)) {
      const { entry, decision } = next;
      assert.ok(decision.kind === 'place', 'every run has nodes that can take it');
      this.#measures.placed(entry.value.press.tenant, entry.memory);
      void this.#attempt(entry, decision);
    }
    for (const { node, bytes, pool } of this.#scheduler.giveWay(now)) this.#nodes.get(node)?.giveWay(bytes, pool);
  }

  async #attempt(entry: QueueEntry<Ticket>, { node: name, warm, imagePresent }: Placed): Promise<void> {
    const { press, avoid } = entry.value;
    const node = this.#nodes.get(name) ?? assert.fail();
    const { memory, image } = press;
    entry.value.attempts += 1;
    const stay = { memory, endsBy: this.#clock.now() + longestMs };
    this.#cluster.started(name, stay);
    try {
      if (!imagePresent) await this.#copy(name, image);
      const lease = await node.lease(poolOf(image, memory), entry, warm ? memory - idleMemory : memory);
      this.#measures.leases += 1;
      this.#measures.hits += Number(lease.warm);
      const began = this.#clock.now() + latencies.handOver;
      const done = await node.execute(press.workMs);
      lease.release();
      if (done) {
        this.#measures.done(press, began, this.#clock.now());
        this.#end(press);
      } else {
        avoid.add(name);
        this.#lost(entry, false);
      }
    } catch (error) {
      assert.ok(error instanceof KatafleetError && error.fault === 'node', String(error));
      if (error.code !== 'node.full') avoid.add(name);
      this.#lost(entry, error.code === 'node.full');
    } finally {
      this.#cluster.ended(name, stay);
      this.#pump();
    }
  }

  async #copy(name: string, image: number): Promise<void> {
    await this.#clock.sleep(latencies.copy);
    const images = this.#images.get(name) ?? assert.fail();
    this.#cluster.setImages(name, images.add(String(image)));
  }

  #lost(entry: QueueEntry<Ticket>, full: boolean): void {
    this.#measures.retried += 1;
    if (entry.value.attempts >= attempts && !full) {
      this.#measures.failed += 1;
      this.#end(entry.value.press);
      return;
    }
    this.#measures.waits(entry.value.press.tenant);
    this.#scheduler.queue.requeue({ ...entry, deadline: Math.max(entry.deadline, this.#clock.now() + queueMs) });
    this.#tick();
  }

  #end(press: Press): void {
    assert.ok(this.#open.delete(press), 'a run ends once');
  }
}

const poolOf = (image: number, memory: number) => `${image} ${memory}`;

function wantedOf({ press: { image, memory, constraints }, avoid }: Ticket): Wanted {
  return {
    image: String(image),
    pool: poolOf(image, memory),
    memory,
    cpus: 1,
    idleMemory,
    constraints,
    lastsMs: longestMs,
    ...(avoid.size > 0 ? { avoid } : {}),
  };
}
