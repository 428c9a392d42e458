import type { Press } from './workload.ts';

interface Percentiles {
  p50: number;
  p95: number;
  p99: number;
}

/** What a variant came to. Times are ms, sizes bytes, shares from 0 to 1. */
export interface Report {
  runs: number;
  done: number;
  failed: number;
  expired: number;
  /** Times that the queue was full and a run had to come back. */
  refusals: number;
  /** Attempts that were lost with their node. */
  retried: number;
  /** From the press to the begin of the program. */
  waiting: Percentiles;
  /** The same, of tenants with at most one in a hundred runs. */
  smallWaiting: Percentiles;
  /** Whole time over the program's on an idle node. */
  stretch: Percentiles;
  /** Share of the leases for which a sandbox waited. */
  hits: number;
  /** Highest share of a node's memory that was booked at any time, and of the fleet's. */
  booked: { node: number; fleet: number };
  /** Jain's index of the memory that tenants were given while they had to wait, mean over windows; undefined when nobody had to. */
  fairness: number | undefined;
  /** Idle sandboxes, mean over time, and what they book. */
  idle: { mean: number; bytes: number };
  /** Sandboxes made for each run. */
  made: number;
  /** Until the last run had ended. */
  lastedMs: number;
}

/** Windows in which fairness is looked at, ms. */
export const windowMs = 5_000;

/** Jain's index: 1 when all have the same, 1/n when one has all. */
function jain(shares: readonly number[]): number {
  const [sum, squares] = [shares.reduce((total, x) => total + x, 0), shares.reduce((total, x) => total + x * x, 0)];
  return squares === 0 ? 1 : (sum * sum) / (shares.length * squares);
}

function percentiles(values: readonly number[]): Percentiles {
  const sorted = Float64Array.from(values).sort();
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0;
  return { p50: at(0.5), p95: at(0.95), p99: at(0.99) };
}

/** Collects what happens in one simulation. */
export class Measures {
  readonly #waits: number[] = [];
  readonly #smallWaits: number[] = [];
  readonly #stretches: number[] = [];
  readonly #small: ReadonlySet<string>;
  /** Runs that wait, and bytes given in this window. */
  readonly #waiting = new Map<string, number>();
  readonly #given = new Map<string, number>();
  #backlogged: string[] = [];
  readonly #fairness: number[] = [];
  #idle = 0;
  #idleTime = 0;
  #idleSince = 0;
  hits = 0;
  leases = 0;
  made = 0;
  refusals = 0;
  retried = 0;
  failed = 0;
  expired = 0;
  fleetShare = 0;

  constructor(presses: readonly Press[]) {
    const counts = new Map<string, number>();
    for (const { tenant } of presses) counts.set(tenant, (counts.get(tenant) ?? 0) + 1);
    this.#small = new Set(Array.from(counts).flatMap(([tenant, count]) => (count <= presses.length / 100 ? [tenant] : [])));
  }

  get ended(): number {
    return this.#waits.length + this.failed + this.expired;
  }

  done({ tenant, at, workMs }: Press, began: number, now: number): void {
    this.#waits.push(began - at);
    if (this.#small.has(tenant)) this.#smallWaits.push(began - at);
    this.#stretches.push((now - at) / workMs);
  }

  waits(tenant: string): void {
    this.#waiting.set(tenant, (this.#waiting.get(tenant) ?? 0) + 1);
  }

  /** It was given so much, or nothing and waits no more. */
  placed(tenant: string, memory: number): void {
    const left = (this.#waiting.get(tenant) ?? 0) - 1;
    if (left > 0) this.#waiting.set(tenant, left);
    else this.#waiting.delete(tenant);
    this.#given.set(tenant, (this.#given.get(tenant) ?? 0) + memory);
  }

  /** A window ends: tenants that had to wait at its begin and at its end are compared. */
  window(): void {
    const both = this.#backlogged.filter((tenant) => this.#waiting.has(tenant));
    if (both.length > 1) this.#fairness.push(jain(both.map((tenant) => this.#given.get(tenant) ?? 0)));
    this.#backlogged = Array.from(this.#waiting.keys());
    this.#given.clear();
  }

  idle(change: number, now: number): void {
    this.#idleTime += this.#idle * (now - this.#idleSince);
    this.#idleSince = now;
    this.#idle += change;
  }

  report(now: number, idleMemory: number, nodeShare: number): Report {
    this.idle(0, now);
    const mean = this.#idleTime / now;
    const fairness = this.#fairness.length > 0 ? this.#fairness.reduce((sum, x) => sum + x, 0) / this.#fairness.length : undefined;
    return {
      runs: this.ended,
      done: this.#waits.length,
      failed: this.failed,
      expired: this.expired,
      refusals: this.refusals,
      retried: this.retried,
      waiting: percentiles(this.#waits),
      smallWaiting: percentiles(this.#smallWaits),
      stretch: percentiles(this.#stretches),
      hits: this.hits / Math.max(1, this.leases),
      booked: { node: nodeShare, fleet: this.fleetShare },
      fairness,
      idle: { mean, bytes: mean * idleMemory },
      made: this.made / Math.max(1, this.ended),
      lastedMs: now,
    };
  }
}
