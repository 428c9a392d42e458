import type { Driver } from '../../drivers/contract.ts';

export interface ImageWatchOptions {
  driver: Driver;
  /** Ends the watch. */
  signal: AbortSignal;
  /** The engine has told of a change. */
  onChanged: () => void;
  /** No further change was told for a moment: it is time to ask for the images. */
  onSettled: () => void;
}

/** Changes often come several at once, ms. */
const settleMs = 200;

/** Follows what an engine tells of changes of its images. */
export class ImageWatch {
  readonly #options: ImageWatchOptions;
  #watching = false;

  constructor(options: ImageWatchOptions) {
    this.#options = options;
  }

  /** Begins to follow the engine's events, unless that is under way. When their stream breaks, it takes another call. */
  follow(): void {
    const { driver, signal, onChanged, onSettled } = this.#options;
    if (this.#watching || !driver.watchImages) return;
    this.#watching = true;
    let settling: NodeJS.Timeout | undefined;
    const changed = () => {
      onChanged();
      settling ??= setTimeout(() => {
        settling = undefined;
        onSettled();
      }, settleMs).unref();
    };
    const ended = () => {
      this.#watching = false;
    };
    driver.watchImages(changed, signal).then(ended, ended);
  }
}
