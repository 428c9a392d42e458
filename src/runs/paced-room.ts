import type { Room } from '../core/byte-budget.ts';

/** How long a run may wait in all for room for what it changed, ms. Its sandbox lives so much longer. */
export const mostWaitMs = 600_000;
/** What a sandbox has room for is there after so long, ms, and after the time that so many bytes take, at so many in a millisecond. */
export const pace = { graceMs: 60_000, bytesPerMs: 1_024 };

interface Waiting {
  /** Waits for what others hold, for so long at most, ms. @throws when that is over, or somebody is no longer interested */
  wait(ms: number, granted: Promise<void>): Promise<void>;
  /** The sandbox held room for too long. */
  tooSlow(why: Error): void;
}

/**
 * Room for what a sandbox sends. Others wait for what it holds: from the first byte of room on, what it has room for must come at no
 * less than {@link pace}. The time stands still while the sandbox itself has to wait.
 */
export class PacedRoom {
  readonly #room: Room;
  readonly #waiting: Waiting;
  /** By when all that there is room for must be there, by `performance.now()`. */
  #until: number | undefined;
  #waitMs = mostWaitMs;
  #timer: NodeJS.Timeout | undefined;

  constructor(room: Room, waiting: Waiting) {
    this.#room = room;
    this.#waiting = waiting;
  }

  /** Resolves when there is room for so many bytes more. `moreMs`: what they may take beyond the pace. @throws what `wait` throws */
  async take(bytes: number, moreMs = 0): Promise<void> {
    clearTimeout(this.#timer);
    const granted = this.#room.take(bytes);
    if (granted) {
      const from = performance.now();
      await this.#waiting.wait(this.#waitMs, granted);
      const waited = performance.now() - from;
      this.#waitMs = Math.max(0, this.#waitMs - waited);
      if (this.#until !== undefined) this.#until += waited;
    }
    const now = performance.now();
    this.#until = (this.#until ?? now + pace.graceMs) + moreMs + bytes / pace.bytesPerMs;
    const late = () => this.#waiting.tooSlow(new Error('what it had room for came too slowly'));
    this.#timer = setTimeout(late, Math.max(0, this.#until - now)).unref();
  }

  /** All is there. */
  end(): void {
    clearTimeout(this.#timer);
  }
}
