import type { Clock } from './clock.ts';

/** How often the clock ticks, ms. */
const tickMs = 50;
/** A tick that is late by less is no stall, ms. */
const usualMs = 20;

/**
 * Measures the stalls of this process: times in which its event loop did not turn, because it computed, or because the machine did not
 * let it run. A call that seems to have taken too long during a stall may have been answered in time.
 */
export class LagClock {
  readonly #now: () => number;
  #stalled = 0;
  #ticked: number;
  #timer: NodeJS.Timeout | undefined;

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
    this.#ticked = now();
  }

  /** Begins to measure, until {@link stop}. It does not keep the process alive. */
  start(): void {
    if (this.#timer) return;
    this.#ticked = this.#now();
    this.#timer = setInterval(() => this.tick(), tickMs).unref();
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  tick(): void {
    this.#stalled += this.#late();
    this.#ticked = this.#now();
  }

  /** The sum of all stalls since the start, ms: also of one that has just ended, before the next tick. */
  get stalledMs(): number {
    return this.#stalled + (this.#timer ? this.#late() : 0);
  }

  #late(): number {
    const late = this.#now() - this.#ticked - tickMs;
    return late < usualMs ? 0 : late;
  }
}

/**
 * A clock for deadlines of calls. Its timers call back one turn of the event loop later, after what lies in the sockets was read: an
 * answer that came in time counts, even if the process was too busy to read it.
 */
export const readFirstClock: Pick<Clock, 'after'> = {
  after: (ms, call) => {
    let turn: NodeJS.Immediate | undefined;
    const timer = setTimeout(() => (turn = setImmediate(call)), ms);
    return {
      cancel: () => {
        clearTimeout(timer);
        if (turn) clearImmediate(turn);
      },
    };
  },
};
