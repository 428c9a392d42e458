import { setImmediate as turn } from 'node:timers/promises';
import type { Clock, Timer } from '../../src/base/clock.ts';

/** A clock that a test moves on. */
export class ManualClock implements Clock {
  readonly #waiting = new Map<symbol, { at: number; call: () => void }>();
  #now = 0;

  now(): number {
    return this.#now;
  }

  after(ms: number, call: () => void): Timer {
    const id = Symbol();
    this.#waiting.set(id, { at: this.#now + ms, call });
    return { cancel: () => void this.#waiting.delete(id) };
  }

  /** How many calls are waiting. */
  get waiting(): number {
    return this.#waiting.size;
  }

  /** Moves on second by second, each with a turn of the event loop. */
  async pass(seconds: number): Promise<void> {
    for (let second = 0; second < seconds; second += 1) {
      this.jump(1_000);
      await turn();
    }
  }

  /** Moves on at once, as in a process that stood still: each waiting call comes late, and once. */
  jump(ms: number): void {
    this.#now += ms;
    for (const [id, { at, call }] of [...this.#waiting]) {
      if (at > this.#now || !this.#waiting.delete(id)) continue;
      call();
    }
  }
}
