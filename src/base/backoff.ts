/** Bounds of a pause that grows with each failure in a row. `factor` is 2 if absent. */
export interface BackoffBounds {
  firstMs: number;
  mostMs: number;
  factor?: number;
}

/** Returns the pause after `failures` failures in a row, ms: the first pause after 1, then `factor` times as long each, up to the longest. */
export function backoffMs(failures: number, { firstMs, mostMs, factor = 2 }: BackoffBounds): number {
  return Math.min(mostMs, firstMs * factor ** Math.max(0, failures - 1));
}

/** The pause between the tries of one thing. It is 0 until a try fails, and 0 again after a success. */
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
