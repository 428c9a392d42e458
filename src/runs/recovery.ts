import type { UnendedRun } from '../model/record.ts';

/** What the recovery needs to know of a run. */
export type Recoverable = Pick<UnendedRun, 'id' | 'bytes' | 'abandoned'>;

export interface RecoveryOptions<T extends Recoverable> {
  /** Bytes of requests that may be in memory at once; one is taken up in any case. */
  mostBytes: number;
  /** A run with this many deaths of katafleet is taken up only while no other such run is. */
  suspectFrom: number;
  /** Takes a run up; resolves when it is over, and never rejects. */
  start: (run: T) => Promise<void>;
}

/**
 * Takes up what an earlier katafleet left, the oldest first, as much as there is memory for, the rest as those end. Runs in which
 * katafleet died again and again go one after another: the one that ends the server is found, and those that ran beside it are not
 * taken for it.
 */
export class Recovery<T extends Recoverable> {
  readonly #options: RecoveryOptions<T>;
  readonly #plain: T[] = [];
  readonly #suspects: T[] = [];
  /** Their ids, of those that are not taken up yet. */
  readonly #waiting = new Set<string>();
  #bytes = 0;
  #suspect = false;
  #stopped = false;

  constructor(runs: Iterable<T>, options: RecoveryOptions<T>) {
    this.#options = options;
    for (const run of runs) {
      (run.abandoned >= options.suspectFrom ? this.#suspects : this.#plain).push(run);
      this.#waiting.add(run.id);
    }
  }

  /** Whether a run waits to be taken up. */
  has(id: string): boolean {
    return this.#waiting.has(id);
  }

  /** Leaves a run out, for it was cancelled. */
  remove(id: string): void {
    this.#waiting.delete(id);
  }

  /** Takes up what there is room for. */
  go(): void {
    if (!this.#suspect) this.#next(this.#suspects, true);
    while (this.#next(this.#plain, false));
  }

  /** Takes nothing up any more. */
  stop(): void {
    this.#stopped = true;
  }

  #next(runs: T[], suspect: boolean): boolean {
    while (runs[0] && !this.#waiting.has(runs[0].id)) runs.shift();
    const [run] = runs;
    if (this.#stopped || !run || (this.#bytes > 0 && this.#bytes + run.bytes > this.#options.mostBytes)) return false;
    runs.shift();
    this.#waiting.delete(run.id);
    this.#bytes += run.bytes;
    this.#suspect ||= suspect;
    void this.#options.start(run).then(() => {
      this.#bytes -= run.bytes;
      if (suspect) this.#suspect = false;
      this.go();
    });
    return true;
  }
}
