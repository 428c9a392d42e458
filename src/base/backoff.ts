/** Bounds of a pause that grows with each failure in a row. `factor` is 2 if absent. */
export interface BackoffBounds {
  firstMs: number;
  mostMs: number;
  factor?: number;
}

/** The pause after so many failures in a row, ms: the first one after 1, then `factor` times as long each, up to the longest. */
export function backoffMs(failures: number, { firstMs, mostMs, factor = 2 }: BackoffBounds): number {
  return Math.min(mostMs, firstMs * factor ** Math.max(0, failures - 1));
}

/** The pause of one thing that is tried again and again: none until it fails, and none again once it succeeds. */
export class Backoff {
  readonly #bounds: BackoffBounds;
  #failures = 0;

  constructor(bounds: BackoffBounds) {
    this.#bounds = bounds;
  }

  /** The pause that is due now, ms; 0 after a success. */
  get ms(): number {
    return this.#failures === 0 ? 0 : backoffMs(this.#failures, this.#bounds);
  }

  /** Counts a failure. Returns the pause that is due now, ms. */
  failed(): number {
    this.#failures += 1;
    return this.ms;
  }

  succeeded(): void {
    this.#failures = 0;
  }
}
