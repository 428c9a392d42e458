import { KiB } from '../../base/units.ts';

/** Bytes of output that each run may keep whatever the others hold: of the beginnings of its streams, and of the ends of those that are cut. */
export const freeOutput = { beginning: 2 * KiB * KiB, end: 256 * KiB };

/** Where the output of one run is counted. */
export interface OutputRoom {
  /** How many of so many bytes more there is room for. */
  keep(bytes: number, part: keyof typeof freeOutput): number;
}

/** What has room for all. */
export const endlessRoom: OutputRoom = { keep: (bytes) => bytes };

/**
 * Bytes of output that the runs hold, beside what is free for each, until their results are written down. Nobody waits for them: what finds
 * no room is not kept. A run gets no more than it leaves to others, so that there is something left for the next one.
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

  /** The room of one run; `close` gives all of it back. */
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
