import type { Room } from '../../base/byte-budget.ts';

/** How long a run may wait in all for room for what it changed, ms. Its sandbox lives so much longer. */
export const mostWaitMs = 600_000;
/**
 * While other runs wait for room, a sandbox must send what it has room for within `graceMs` and the time that its bytes take at
 * `bytesPerMs`. Checked every `lookMs`.
 */
export const pace = { graceMs: 60_000, bytesPerMs: 1_024, lookMs: 1_000 };

interface RoomUser {
  /** Waits for room that others have, `ms` at most. @throws when that time is over, or the run is cancelled */
  wait(ms: number, granted: Promise<void>): Promise<void>;
  /** The sandbox held room for too long. */
  tooSlow(why: Error): void;
}

/**
 * Room for what a sandbox sends. From its first byte of room on, what it has room for must come at no less than {@link pace}, as long as
 * others wait for room: otherwise a node with a slow line delays no other run. The time stands still while the sandbox itself has to wait.
 */
export class PacedRoom {
  readonly #room: Room;
  readonly #user: RoomUser;
  /** How long others may yet wait for what it has room for, ms. */
  #leftMs = pace.graceMs;
  #waitMs = mostWaitMs;
  #timer: NodeJS.Timeout | undefined;

  constructor(room: Room, user: RoomUser) {
    this.#room = room;
    this.#user = user;
  }

  /** Resolves when there is room for `bytes` more. `moreMs`: the time that they may take beyond the pace. @throws what `wait` throws */
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
      else this.#user.tooSlow(new Error('what it had room for came too slowly, and others waited'));
    }, pace.lookMs).unref();
  }

  /** All is there. */
  end(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
