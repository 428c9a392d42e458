import type { HealthState } from '../../model/node.ts';

export interface HealthRules {
  /** Failures in a row until a node is down. */
  failures: number;
  /** Successes in a row until a node is up again. Each fall within {@link HealthRules.flapMs} doubles them, up to 8 times. */
  successes: number;
  /** A node that stays up this long stops counting as flapping, ms. */
  flapMs: number;
}

/**
 * A node's health, with damping. One failure makes the node suspect: it takes nothing new, and its runs go on. Several failures in a
 * row make it down: its runs are lost. It is up again after several successes in a row, more each time that it flaps.
 */
export class Health {
  readonly #rules: HealthRules;
  #state: HealthState = 'probing';
  #failures = 0;
  #successes = 0;
  #falls = 0;
  #readySince = 0;

  constructor(rules: HealthRules) {
    this.#rules = rules;
  }

  get state(): HealthState {
    return this.#state;
  }

  /** Successes in a row that the node still needs to be ready. */
  get missing(): number {
    if (this.#state === 'ready') return 0;
    return Math.max(0, (this.#state === 'down' ? this.#wanted() : 1) - this.#successes);
  }

  #wanted(): number {
    return this.#rules.successes * 2 ** Math.min(3, Math.max(0, this.#falls - 1));
  }

  /** Notes that the node answered. Returns its new state: a node that was down is `ready` only after enough successes in a row. */
  good(now: number): HealthState {
    this.#failures = 0;
    this.#successes += 1;
    if (this.#state === 'ready') {
      if (now - this.#readySince >= this.#rules.flapMs) this.#falls = 0;
      return this.#state;
    }
    if (this.missing === 0) {
      if (this.#state !== 'suspect') this.#readySince = now;
      this.#state = 'ready';
    }
    return this.#state;
  }

  /** Notes that a run could not reach the node. It takes nothing new until it answers; this does not count as a failed look. */
  doubt(): HealthState {
    if (this.#state === 'ready') this.#state = 'suspect';
    return this.#state;
  }

  /** Notes that the node did not answer. */
  bad(): HealthState {
    this.#successes = 0;
    this.#failures += 1;
    if (this.#state === 'down') return this.#state;
    // A node without runs goes down at the first failure: nothing is lost, and it is probed again when it answers.
    if (this.#failures >= this.#rules.failures || this.#state === 'probing' || this.#state === 'unusable') {
      this.#falls += 1;
      this.#state = 'down';
    } else {
      this.#state = 'suspect';
    }
    return this.#state;
  }

  /** Notes that the node answers but must not serve: its engine is too old, or its kernel has no memory limits. */
  refuse(): HealthState {
    this.#successes = 0;
    this.#state = 'unusable';
    return this.#state;
  }
}
