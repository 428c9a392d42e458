import { ByteBudget } from '../../base/byte-budget.ts';
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
}
