/** The recent demand on a pool. */
export interface Demand {
  /** Sandboxes taken per second. */
  rate: number;
  /** Time to create a sandbox (ms). */
  replacementMs: number;
  /** Most sandboxes in use at once. */
  peak: number;
}

export interface PoolBounds {
  /** Idle sandboxes to keep without demand. */
  min: number;
  /** Most idle sandboxes. */
  max: number;
}

/**
 * Returns the number of idle sandboxes that a pool should hold: twice what is taken while one is created (Little's law, doubled for
 * bursts), but at least a quarter of the most that were in use at once.
 */
export function poolTarget(demand: Demand, bounds: PoolBounds): number {
  const inFlight = (demand.rate * demand.replacementMs) / 1000;
  const wanted = Math.ceil(Math.max(2 * inFlight, demand.peak / 4) - 0.1);
  return Math.min(bounds.max, Math.max(bounds.min, wanted));
}

/** Decides how many sandboxes a pool starts now, and how many idle ones it discards; one of the two is 0. */
export function poolPlan({ idle, filling, target, paused }: { idle: number; filling: number; target: number; paused: boolean }): {
  start: number;
  discard: number;
} {
  return { start: paused ? 0 : Math.max(0, target - idle - filling), discard: Math.max(0, idle - target) };
}

/** Measures a rate and a peak that fade with time. Times are ms of any steady clock. */
export class DemandMeter {
  readonly #halfLifeMs: number;
  #rate = 0;
  #peak = 0;
  #at = 0;

  constructor(halfLifeMs = 30_000) {
    this.#halfLifeMs = halfLifeMs;
  }

  #fade(now: number): void {
    const faded = 0.5 ** (Math.max(0, now - this.#at) / this.#halfLifeMs);
    this.#rate *= faded;
    this.#peak *= faded;
    this.#at = now;
  }

  /** Counts a sandbox that was taken. `inUse`: number of sandboxes in use now. */
  taken(now: number, inUse: number): void {
    this.#fade(now);
    this.#rate += (Math.LN2 / this.#halfLifeMs) * 1000;
    this.#peak = Math.max(this.#peak, inUse);
  }

  at(now: number): { rate: number; peak: number } {
    this.#fade(now);
    return { rate: this.#rate, peak: this.#peak };
  }
}
