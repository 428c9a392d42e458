import { ByteBudget, type Room } from '../../base/byte-budget.ts';
import { KiB } from '../../base/units.ts';

/**
 * Bytes of output that each run may keep, however much others hold: of the beginnings of its streams, and of the ends of streams that
 * are cut.
 */
export const freeOutput = { beginning: 2 * KiB * KiB, end: 256 * KiB };

/** Counts the output of one run. */
export interface OutputRoom {
  /** Returns how many of these bytes may be kept. */
  keep(bytes: number, part: keyof typeof freeOutput): number;
}

/** Memory for the latest events of one run, which readers may still ask for. */
export interface OutputWindow {
  /** Takes room for bytes; false if there is none. */
  take(bytes: number): boolean;
  give(bytes: number): void;
}

/** Bytes of a run's window: those that it has in any case, and the most. */
const windowBytes = { free: 16 * KiB, most: KiB * KiB };

/** Keeps all output. */
export const endlessRoom: OutputRoom = { keep: (bytes) => bytes };

/**
 * Bounds the bytes of output that all runs hold beyond each run's free share, until their results are stored. No run waits: output
 * without room is not kept. A run gets at most as much as it leaves free, so that the next run finds some.
 */
export class OutputBudget {
  readonly #shared: ByteBudget;
  readonly #free: ByteBudget;

  /**
   * @param shared bytes beyond the free shares
   * @param free counts what runs hold of their free shares; it has no bound
   */
  constructor(shared: number | ByteBudget, free = new ByteBudget(Infinity)) {
    this.#shared = typeof shared === 'number' ? new ByteBudget(shared) : shared;
    this.#free = free;
  }

  get held(): number {
    return this.#shared.held;
  }

  /** Returns the room of one run; `close` releases all of it. */
  open(): OutputRoom & { close(): void } {
    const left = { ...freeOutput };
    const rooms = { free: this.#free.open(), shared: this.#shared.open() };
    const held = { free: 0, shared: 0 };
    return {
      keep: (bytes, part) => {
        const own = Math.min(bytes, left[part]);
        left[part] -= own;
        if (own > 0) rooms.free.hold((held.free += own));
        const shared = Math.min(bytes - own, Math.max(0, Math.floor((this.#shared.left - held.shared) / 2)));
        if (shared > 0) rooms.shared.hold((held.shared += shared));
        return own + shared;
      },
      close: () => {
        rooms.free.close();
        rooms.shared.close();
      },
    };
  }

  /**
   * Returns the window of one run's events. Beyond its free share it takes at most half of what is left, so that it never takes the room
   * of a run's own output.
   */
  window(): OutputWindow {
    let held = 0;
    let room: Room | undefined;
    let shared = 0;
    const hold = (bytes: number) => {
      shared = bytes;
      if (bytes > 0) (room ??= this.#shared.open()).hold(bytes);
      else room?.close();
      if (bytes === 0) room = undefined;
    };
    return {
      take: (bytes) => {
        if (held + bytes > windowBytes.most) return false;
        const wanted = Math.max(0, held + bytes - windowBytes.free);
        if (wanted - shared > this.#shared.left / 2) return false;
        held += bytes;
        if (wanted !== shared) hold(wanted);
        return true;
      },
      give: (bytes) => {
        held -= bytes;
        const wanted = Math.max(0, held - windowBytes.free);
        if (wanted !== shared) hold(wanted);
      },
    };
  }
}
