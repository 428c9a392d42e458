import type { Driver } from '../../drivers/contract.ts';

export interface ImageWatchOptions {
  driver: Driver;
  /** Ends the watch. */
  signal: AbortSignal;
  /** Called at each reported change. */
  onChanged: () => void;
  /** Called when no further change was reported for a moment: time to read the image list. */
  onSettled: () => void;
}

/** How long to wait for further changes, ms: often several come at once. */
const settleMs = 200;

/** Watches the changes of images that an engine reports. */
export class ImageWatch {
  readonly #options: ImageWatchOptions;
  #watching = false;

  constructor(options: ImageWatchOptions) {
    this.#options = options;
  }

  /** Starts to follow the engine's events, unless it does so already. After a broken stream it must be called again. */
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
