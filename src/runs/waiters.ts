/** Waits for the end of runs. A wait that has ended leaves nothing in memory, however it ended. */
export class Waiters {
  readonly #waiting = new Map<string, Set<() => void>>();

  /** How many waits there are. */
  get size(): number {
    let sum = 0;
    for (const those of this.#waiting.values()) sum += those.size;
    return sum;
  }

  /** Resolves when the run is over, when `ms` have passed, or when the signal aborts. */
  async wait(id: string, ms: number, signal?: AbortSignal): Promise<void> {
    if (ms <= 0 || signal?.aborted) return;
    const those = this.#waiting.get(id) ?? new Set();
    this.#waiting.set(id, those);
    let wake!: () => void;
    let timer: NodeJS.Timeout | undefined;
    try {
      await new Promise<void>((resolve) => {
        wake = resolve;
        timer = setTimeout(wake, ms);
        those.add(wake);
        signal?.addEventListener('abort', wake, { once: true });
      });
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener('abort', wake);
      those.delete(wake);
      if (those.size === 0 && this.#waiting.get(id) === those) this.#waiting.delete(id);
    }
  }

  /** The run is over: ends all waits for it. */
  ended(id: string): void {
    const those = this.#waiting.get(id);
    this.#waiting.delete(id);
    for (const wake of those ?? []) wake();
  }

  /** Ends the waits for all runs. */
  all(): void {
    for (const id of [...this.#waiting.keys()]) this.ended(id);
  }
}
