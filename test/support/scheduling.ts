import { MiB } from '../../src/base/units.ts';
import { Cluster } from '../../src/scheduler/place/cluster.ts';
import type { Wanted } from '../../src/scheduler/place/placement.ts';
import type { QueueEntry } from '../../src/scheduler/queue/entry.ts';
import { FairQueue } from '../../src/scheduler/queue/queue.ts';
import { Scheduler } from '../../src/scheduler/scheduler.ts';
import { addNode, nodeName, wanted } from './cluster.ts';
import { seeded } from './random.ts';

const wide = { runs: 1e9, bytes: 1e12, perTenant: 1e9, shapesPerTenant: 1e9 };

/** A queue and a scheduler over so many ready nodes with so much memory each, bytes. */
export function scheduling(nodes: number, memory = 4096 * MiB) {
  const cluster = new Cluster();
  for (let index = 0; index < nodes; index += 1) addNode(cluster, nodeName(index), { memory });
  const queue = new FairQueue<Wanted>(wide);
  const scheduler = new Scheduler(queue, cluster, (value) => value, { policy: { pack: 'spread' }, random: seeded(1) });
  let made = 0;
  /** Puts a run of so many MiB into the queue. Returns its id. */
  const submit = (size: number, more: Partial<QueueEntry<Wanted>> = {}, job: Partial<Wanted> = {}): string => {
    const id = `run-${(made += 1)}`;
    const value = wanted({ memory: size * MiB, ...job });
    const entry = { id, tenant: 't', priority: 5, memory: value.memory, bytes: 0, since: 0, deadline: Infinity, value, ...more };
    const shape = more.shape ?? JSON.stringify([size, job]);
    queue.admit(Object.defineProperty({ ...entry, shape }, 'shape', { enumerable: true, get: () => ((looks.shapes += 1), shape) }));
    return id;
  };
  /** How often the scheduler looked at a waiting run. */
  const looks = { shapes: 0 };
  return { cluster, queue, scheduler, submit, looks };
}

/** A run on a node. Times are ms. */
interface Run {
  id: string;
  node: string;
  memory: number;
  endsAt: number;
  stay: { memory: number; endsBy: number | undefined };
}

/**
 * Lets simulated time pass over such a fleet: runs end, their sandboxes are removed, idle sandboxes give way. A run lasts as long as
 * `lasts` says; the scheduler knows the bound in its `lastsMs`.
 */
export class PassingTime {
  now = 0;
  /** When each run began, by its id. */
  readonly begun = new Map<string, number>();
  /** What had to give way. */
  readonly gaveWay: { node: string; bytes: number; for: string }[] = [];
  readonly #parts: ReturnType<typeof scheduling>;
  readonly #lasts: (entry: QueueEntry<Wanted>) => number;
  readonly #removalMs: number;
  #running: Run[] = [];
  #removals: { at: number; done: () => void }[] = [];

  constructor(parts: ReturnType<typeof scheduling>, lasts: (entry: QueueEntry<Wanted>) => number, removalMs = 100) {
    this.#parts = parts;
    this.#lasts = lasts;
    this.#removalMs = removalMs;
  }

  get running(): readonly Run[] {
    return this.#running;
  }

  /** Lets so much time pass, in steps of 100 ms. `each` is called before each step's placements. */
  pass(ms: number, each: () => void = () => undefined): void {
    for (const end = this.now + ms; this.now < end;) {
      this.now += 100;
      this.#end();
      each();
      this.place();
    }
  }

  #end(): void {
    const { cluster } = this.#parts;
    for (const run of this.#running.filter(({ endsAt }) => endsAt <= this.now)) {
      cluster.ended(run.node, run.stay);
      this.#removals.push({ at: this.now + this.#removalMs, done: () => cluster.release(run.node, run.memory) });
    }
    this.#running = this.#running.filter(({ endsAt }) => endsAt > this.now);
    const due = this.#removals.filter(({ at }) => at <= this.now);
    this.#removals = this.#removals.filter(({ at }) => at > this.now);
    for (const { done } of due) done();
  }

  /** Places what can be placed now. */
  place(): void {
    const { cluster, scheduler } = this.#parts;
    for (let next = scheduler.next(this.now); next; next = scheduler.next(this.now)) {
      const { entry, decision } = next;
      if (decision.kind !== 'place') continue;
      const { node, warm } = decision;
      const { memory, lastsMs, pool } = entry.value;
      this.begun.set(entry.id, this.now);
      const stay = { memory, endsBy: lastsMs === undefined ? undefined : this.now + lastsMs };
      cluster.started(node, stay);
      if (warm) cluster.setIdle(node, pool, (cluster.state(node)?.pools.get(pool) ?? 1) - 1);
      this.#running.push({ id: entry.id, node, memory, endsAt: this.now + this.#lasts(entry), stay });
    }
    for (const { node, bytes, for: run } of scheduler.giveWay(this.now)) {
      this.gaveWay.push({ node, bytes, for: run });
      this.#evict(node, bytes);
    }
  }

  #evict(node: string, bytes: number): void {
    const { cluster } = this.#parts;
    const state = cluster.state(node);
    const each = 16 * MiB;
    let count = Math.ceil(bytes / each);
    for (const [pool, idle] of state?.pools ?? []) {
      const going = Math.min(idle, count);
      count -= going;
      cluster.setIdle(node, pool, idle - going);
      if (going > 0) this.#removals.push({ at: this.now + this.#removalMs, done: () => cluster.release(node, going * each) });
    }
  }
}
