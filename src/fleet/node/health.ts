import type { HealthState } from '../../model/node.ts';

export interface HealthRules {
  /** Failures in a row until a node is down. */
  failures: number;
  /** Successes in a row until a node is up again. Each fall within {@link HealthRules.flapMs} doubles them, up to 8 times. */
  successes: number;
  /** A node that stays up this long stops counting as flapping, ms. */
  flapMs: number;
}

/** So often a node may be suspect in a short time before it needs more than one success. */
const freeDoubts = 2;

/**
 * A node's health, with damping. One failure makes the node suspect: it takes nothing new, and its runs go on. Several failures in a
 * row make it down: its runs are lost. It is up again after several successes in a row, more each time that it flaps. A suspect node is
 * ready after one success, but if it was suspect more than twice within {@link HealthRules.flapMs}, it needs more in a row as well.
 */
export class Health {
  readonly #rules: HealthRules;
  #state: HealthState = 'probing';
  #failures = 0;
  #successes = 0;
  #falls = 0;
  #readySince = 0;
  /** How often it became suspect without a long steady time in between. */
  #doubts = 0;
  #steadySince = 0;
  #stuck = false;

  constructor(rules: HealthRules) {
    this.#rules = rules;
  }

  get state(): HealthState {
    return this.#state;
  }

  /** Successes in a row that the node still needs to be ready. */
  get missing(): number {
    if (this.#state === 'ready') return 0;
    const wanted = this.#state === 'down' ? this.#rules.successes * times(this.#falls - 1) : this.#state === 'suspect' ? this.#steady() : 1;
    return Math.max(0, wanted - this.#successes);
  }

  #steady(): number {
    return times(this.#doubts - freeDoubts);
  }

  /** Whether its engine answers but starts nothing, see {@link stick}. */
  get stuck(): boolean {
    return this.#stuck;
  }

  /** Notes that the node answered. Returns its new state: a node that was down is `ready` only after enough successes in a row. */
  good(now: number): HealthState {
    this.#failures = 0;
    this.#successes += 1;
    if (this.#state === 'ready') {
      if (now - this.#readySince >= this.#rules.flapMs) this.#falls = 0;
      if (now - this.#steadySince >= this.#rules.flapMs) this.#doubts = 0;
      return this.#state;
    }
    if (this.missing === 0 && !(this.#stuck && this.#state === 'suspect')) {
      if (this.#state !== 'suspect') this.#readySince = now;
      this.#steadySince = now;
      this.#stuck = false;
      this.#state = 'ready';
    }
    return this.#state;
  }

  /** Notes that a run could not reach the node. It takes nothing new until it answers; this does not count as a failed look. */
  doubt(): HealthState {
    this.#suspect();
    return this.#state;
  }

  #suspect(): void {
    if (this.#state === 'ready') {
      this.#state = 'suspect';
      this.#doubts += 1;
    }
    this.#successes = 0;
  }

  /** Notes that an engine that answers does not start sandboxes: the node is suspect until {@link unstick}, whatever it answers. */
  stick(): HealthState {
    this.#suspect();
    this.#stuck = this.#state === 'suspect';
    return this.#state;
  }

  /** Notes that the engine starts sandboxes again: the next good look makes the node ready. */
  unstick(): void {
    this.#stuck = false;
  }

  /** Notes that another machine answers, which must be probed: nothing is known of it. */
  anew(): HealthState {
    this.#successes = 0;
    this.#failures = 0;
    this.#stuck = false;
    this.#state = 'probing';
    return this.#state;
  }

  /** Notes that an extra look got no answer, which does not count as a failure. */
  missed(): HealthState {
    this.#successes = 0;
    return this.#state;
  }

  /** Notes that the node did not answer. If it is kept, it does not go down: its silence may be katafleet's own fault. */
  bad(kept = false): HealthState {
    if (kept && (this.#state === 'ready' || this.#state === 'suspect')) {
      this.#failures = Math.min(this.#failures + 1, this.#rules.failures - 1);
      this.#suspect();
      return this.#state;
    }
    this.#failures += 1;
    if (this.#state === 'down') return this.missed();
    // A node without runs goes down at the first failure: nothing is lost, and it is probed again when it answers.
    if (this.#failures >= this.#rules.failures || this.#state === 'probing' || this.#state === 'unusable') {
      this.#falls += 1;
      this.#state = 'down';
    } else {
      this.#suspect();
    }
    this.#successes = 0;
    return this.#state;
  }

  /** Notes that the node answers but must not serve: its engine is too old, or its kernel has no memory limits. */
  refuse(): HealthState {
    this.#successes = 0;
    this.#state = 'unusable';
    return this.#state;
  }
}

/** Returns the factor of the successes that are wanted after so many falls too many: 1, 2, 4, and 8 at most. */
const times = (more: number): number => 2 ** Math.min(3, Math.max(0, more));
