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
  readonly #most: number;
  #held = 0;

  constructor(most: number) {
    this.#most = most;
  }

  get held(): number {
    return this.#held;
  }

  /** Returns the room of one run; `close` releases all of it. */
  open(): OutputRoom & { close(): void } {
    const free = { ...freeOutput };
    let held = 0;
    const take = (bytes: number) => {
      this.#held += bytes;
      held += bytes;
    };
    return {
      keep: (bytes, part) => {
        const own = Math.min(bytes, free[part]);
        free[part] -= own;
        const left = Math.max(0, Math.floor((this.#most - this.#held - held) / 2));
        const shared = Math.min(bytes - own, left);
        take(shared);
        return own + shared;
      },
      close: () => take(-held),
    };
  }
}
