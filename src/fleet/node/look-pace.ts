import type { HealthState } from '../../model/node.ts';

/** Factor of the interval for a node that must not serve. */
const unusableFactor = 5;
/** Looks at a suspect node in one interval, so that it serves again as soon as possible. */
const looksOfSuspect = 4;

/**
 * Decides when to look at a node again. An extra look at a suspect node can only make it ready: its failure does not count, so that
 * extra looks do not bring the node down sooner.
 */
export class LookPace {
  readonly #intervalMs: number;
  /** Looks at a suspect node since the last look that counted. */
  #looks = 0;

  constructor(intervalMs: number) {
    this.#intervalMs = intervalMs;
  }

  /** Returns the time until the next look, ms, and whether that is an extra look. */
  next(state: HealthState): { ms: number; extra: boolean } {
    this.#looks = state === 'suspect' ? (this.#looks + 1) % looksOfSuspect : 0;
    const intervalMs = this.#intervalMs;
    const ms = state === 'unusable' ? unusableFactor * intervalMs : state === 'suspect' ? intervalMs / looksOfSuspect : intervalMs;
    return { ms, extra: this.#looks !== 0 };
  }
}
