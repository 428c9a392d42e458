import type { HealthState } from '../../model/node.ts';

/** A node that may not serve is looked at less often. */
const unusableFactor = 5;
/** A suspect node is looked at this many times in one interval, so that it serves again as soon as it can. */
const looksOfSuspect = 4;

/**
 * When a node is looked at next. Extra looks at a suspect node can only find that it is well: their failures are not counted, so
 * that it is not down any sooner.
 */
export class LookPace {
  readonly #intervalMs: number;
  /** Looks at a suspect node since the last one that counted. */
  #looks = 0;

  constructor(intervalMs: number) {
    this.#intervalMs = intervalMs;
  }

  /** The time until the next look, ms, and whether that is an extra look. */
  next(state: HealthState): { ms: number; extra: boolean } {
    this.#looks = state === 'suspect' ? (this.#looks + 1) % looksOfSuspect : 0;
    const intervalMs = this.#intervalMs;
    const ms = state === 'unusable' ? unusableFactor * intervalMs : state === 'suspect' ? intervalMs / looksOfSuspect : intervalMs;
    return { ms, extra: this.#looks !== 0 };
  }
}
