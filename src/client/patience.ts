import { setTimeout as sleep } from 'node:timers/promises';
import { abortable } from '../base/deadline.ts';
import { backoffMs } from '../base/backoff.ts';
import { KatafleetError } from '../model/errors.ts';
import { CallTrouble } from './trouble.ts';

/** The pause between two tries, ms. Half of each is random, so that clients of a server that comes back do not all come at once. */
const pauses = { firstMs: 250, mostMs: 10_000 };

export interface PatienceOptions {
  /** How long to go on after the first failure in a row, ms. Asked at each failure. */
  ms: () => number;
  /** Wakes it from its pause, so that `ms` is asked again. It ends nothing. */
  signal?: AbortSignal | undefined;
  /** Called at the first failure in a row. `ms`: how long it goes on. */
  onTrouble?: ((error: KatafleetError, ms: number) => void) | undefined;
  /** Called at the first success after failures. */
  onAgain?: (() => void) | undefined;
  random?: () => number;
}

/** Makes calls again while they fail in ways that pass: the server is being started again, or has no room. */
export class Patience {
  readonly #options: PatienceOptions;

  constructor(options: PatienceOptions) {
    this.#options = options;
  }

  /** Returns what the call returns at last. @throws its error if that does not pass, or when the time is over */
  async call<T>(ask: () => Promise<T>): Promise<T> {
    const { ms, onTrouble, onAgain } = this.#options;
    let since: number | undefined;
    for (let failures = 1; ; failures += 1) {
      try {
        const answer = await ask();
        if (since !== undefined) onAgain?.();
        return answer;
      } catch (error) {
        if (!(error instanceof CallTrouble && error.passing)) throw error;
        const now = performance.now();
        since ??= now;
        const left = ms() - (now - since);
        if (left <= 0) throw error;
        if (failures === 1) onTrouble?.(error, ms());
        await this.#pause(Math.min(left, Math.max(error.afterMs, this.#backoff(failures))));
        if (ms() <= 0) throw error; // it was cancelled in the pause
      }
    }
  }

  #backoff(failures: number): number {
    const { random = Math.random } = this.#options;
    return backoffMs(failures, pauses) * (0.5 + random() / 2);
  }

  /** Waits, until the signal aborts at most. Once it has aborted it wakes nobody. */
  async #pause(ms: number): Promise<void> {
    const { signal } = this.#options;
    const waker = signal && !signal.aborted ? signal : undefined;
    const stop = new AbortController();
    await abortable(waker, sleep(ms, undefined, { signal: stop.signal })).catch(() => undefined);
    stop.abort();
  }
}
