import type { Clock, Timer } from '../../src/base/clock.ts';
import { Heap } from '../../src/scheduler/queue/heap.ts';

interface Event {
  at: number;
  order: number;
  call: (() => void) | undefined;
}

/** Time that passes only from one event to the next. Everything that an event sets off is over before the next begins. */
export class VirtualClock implements Clock {
  readonly #events = new Heap<Event>((a, b) => a.at < b.at || (a.at === b.at && a.order < b.order));
  #now = 0;
  #order = 0;

  now(): number {
    return this.#now;
  }

  after(ms: number, call: () => void): Timer {
    const event: Event = { at: this.#now + ms, order: (this.#order += 1), call };
    this.#events.push(event);
    return {
      cancel: () => {
        event.call = undefined;
      },
    };
  }

  /** Resolves in virtual time. */
  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => this.after(ms, resolve));
  }

  /** Until nothing is to come, or it is over. */
  async run(over: () => boolean): Promise<void> {
    for (let event = this.#events.pop(); event; event = this.#events.pop()) {
      if (!event.call) continue;
      this.#now = event.at;
      event.call();
      // Promises that it settled, and those that these settle, come before the event loop's next turn.
      await new Promise((resolve) => setImmediate(resolve));
      if (over()) return;
    }
  }
}
