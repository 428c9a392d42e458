import { minute } from '../../../base/units.ts';
import { type Clock, steadyClock, type Timer } from '../../../base/clock.ts';
import { within } from '../../../base/deadline.ts';
import { ToldOnce } from '../../../base/told-once.ts';
import { messageOf } from '../../../model/errors.ts';
import { inSeconds } from '../../../model/quantity.ts';

/** How long one job may take (ms). */
const longestMs = 2 * minute;

export interface RoundsOptions {
  everyMs: number;
  /** The jobs of a round, in their order, by the name that a failure's message has. */
  jobs: Readonly<Record<string, () => void | Promise<void>>>;
  onTrouble: (message: string) => void;
  clock?: Clock;
}

/** Runs jobs periodically. A job that fails does not block the others; its error is reported once until it succeeds. */
export class Rounds {
  readonly #options: RoundsOptions;
  readonly #clock: Clock;
  readonly #reported: ToldOnce<string>;
  #next: Timer | undefined;
  #stopped = false;

  constructor(options: RoundsOptions) {
    this.#options = options;
    this.#reported = new ToldOnce(options.onTrouble);
    this.#clock = options.clock ?? steadyClock;
  }

  /** Starts, unless it has started. A round begins after the one before has ended. */
  start(): void {
    if (!this.#stopped) this.#next ??= this.#clock.after(this.#options.everyMs, () => void this.#round());
  }

  stop(): void {
    this.#stopped = true;
    this.#next?.cancel();
  }

  async #round(): Promise<void> {
    for (const [name, job] of Object.entries(this.#options.jobs)) {
      if (this.#stopped) return;
      try {
        // A job that hangs does not block the next ones.
        await within(longestMs, async () => job(), {
          clock: this.#clock,
          late: () => new Error(`it has not ended within ${inSeconds(longestMs)}`),
        });
        this.#reported.recovered(name);
      } catch (error) {
        this.#reported.tell(name, `${name}: ${messageOf(error)}`);
      }
    }
    this.#next = undefined;
    this.start();
  }
}
