import type { HealthState } from '../../model/node.ts';

/** Factor of the interval for a node that must not serve. */
const unusableFactor = 5;
/** A look comes earlier or later by up to this share of its interval, so that the looks at many nodes spread. */
const jitter = 0.1;
/** Looks at a suspect node in one interval, so that it serves again as soon as possible. */
const looksOfSuspect = 4;

/**
 * Decides when to look at a node again. An extra look at a suspect node can only make it ready: its failure does not count, so that
 * extra looks do not bring the node down sooner.
 */
export class LookPace {
  readonly #intervalMs: number;
  readonly #random: () => number;
  #first = true;
  /** Looks at a suspect node since the last look that counted. */
  #looks = 0;

  /** `random` returns numbers from 0 to 1. */
  constructor(intervalMs: number, random: () => number = Math.random) {
    this.#intervalMs = intervalMs;
    this.#random = random;
  }

  /** Returns the time until the next look, ms, and whether that is an extra look. */
  next(state: HealthState): { ms: number; extra: boolean } {
    this.#looks = state === 'suspect' ? (this.#looks + 1) % looksOfSuspect : 0;
    const intervalMs = this.#intervalMs;
    const ms = state === 'unusable' ? unusableFactor * intervalMs : state === 'suspect' ? intervalMs / looksOfSuspect : intervalMs;
    const random = this.#random();
    // All nodes are looked at together at the start, so the second look comes at any time of the interval.
    const spread = this.#first ? random : 1 + jitter * (2 * random - 1);
    this.#first = false;
    return { ms: Math.ceil(ms * spread), extra: this.#looks !== 0 };
  }
}
