import type { Room } from '../../base/byte-budget.ts';

/** How long a run may wait in all for room for its changes (ms). Its sandbox lives longer by this time. */
export const mostWaitMs = 600_000;
/**
 * While other runs wait for room, a sandbox must send what it has room for within `graceMs` plus one ms for each `bytesPerMs` bytes.
 * This is checked every `lookMs`.
 */
export const pace = { graceMs: 60_000, bytesPerMs: 1_024, lookMs: 1_000 };

interface RoomUser {
  /** Waits for room that other runs hold, at most `ms`. @throws when that time is over, or the run is cancelled */
  wait(ms: number, granted: Promise<void>): Promise<void>;
  /** Called when the sandbox has held room for too long. */
  tooSlow(why: Error): void;
}

/**
 * Room for the bytes that a sandbox sends. While other runs wait for room, its bytes must come at no less than {@link pace}: so a node
 * with a slow line does not delay other runs. The time stops while the sandbox itself waits for room.
 */
export class PacedRoom {
  readonly #room: Room;
  readonly #user: RoomUser;
  /** How long other runs may still wait for the bytes that it has room for (ms). */
  #leftMs = pace.graceMs;
  #waitMs = mostWaitMs;
  #timer: NodeJS.Timeout | undefined;

  constructor(room: Room, user: RoomUser) {
    this.#room = room;
    this.#user = user;
  }

  /** Resolves when there is room for `bytes` more. `moreMs`: time that they may take beyond the pace. @throws what `wait` throws */
  async take(bytes: number, moreMs = 0): Promise<void> {
    const granted = this.#room.take(bytes);
    if (granted) {
      this.end();
      const from = performance.now();
      await this.#user.wait(this.#waitMs, granted);
      this.#waitMs = Math.max(0, this.#waitMs - (performance.now() - from));
    }
    this.#leftMs += moreMs + bytes / pace.bytesPerMs;
    this.#timer ??= this.#look();
  }

  #look(): NodeJS.Timeout {
    return setTimeout(() => {
      if (this.#room.awaited()) this.#leftMs -= pace.lookMs;
      if (this.#leftMs > 0) this.#timer = this.#look();
      else this.#user.tooSlow(new Error('the sandbox sent its changes too slowly while other runs waited for room'));
    }, pace.lookMs).unref();
  }

  /** Called when all bytes have come. */
  end(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
