import type { HealthState } from '../../model/node.ts';

export interface HealthRules {
  /** Failures in a row until a node is down. */
  failures: number;
  /** Successes in a row until it is back; each fall within {@link HealthRules.flapMs} doubles them, up to 8 times. */
  successes: number;
  /** A node that stays up this long does not count as flapping any more, ms. */
  flapMs: number;
}

/**
 * A node's health with damping. One failure makes it suspect: nothing new goes there, what runs goes on. Some in a row
 * make it down: what runs there is given up. Coming back takes successes in a row, more each time that it flaps.
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

  /** Successes in a row that it still takes to be ready. */
  get missing(): number {
    if (this.#state === 'ready') return 0;
    return Math.max(0, (this.#state === 'down' ? this.#wanted() : 1) - this.#successes);
  }

  #wanted(): number {
    return this.#rules.successes * 2 ** Math.min(3, Math.max(0, this.#falls - 1));
  }

  /** It answered. Returns the state after that; a node that was down is `ready` only after enough successes in a row. */
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

  /** A run could not reach it between two looks. Nothing new goes there until it has answered; this does not count as a failed look. */
  doubt(): HealthState {
    if (this.#state === 'ready') this.#state = 'suspect';
    return this.#state;
  }

  /** It did not answer. */
  bad(): HealthState {
    this.#successes = 0;
    this.#failures += 1;
    if (this.#state === 'down') return this.#state;
    // A node that serves nothing goes down at the first failure: it loses nothing, and is probed when it is back.
    if (this.#failures >= this.#rules.failures || this.#state === 'probing' || this.#state === 'unusable') {
      this.#falls += 1;
      this.#state = 'down';
    } else {
      this.#state = 'suspect';
    }
    return this.#state;
  }

  /** It answers and may not serve: too old, no memory limits. */
  refuse(): HealthState {
    this.#successes = 0;
    this.#state = 'unusable';
    return this.#state;
  }
}
