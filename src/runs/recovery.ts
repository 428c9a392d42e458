import type { UnendedRun } from '../model/record.ts';

/** What the recovery needs to know about a run. */
export type Recoverable = Pick<UnendedRun, 'id' | 'bytes' | 'abandoned'>;

export interface RecoveryOptions<T extends Recoverable> {
  /** Bytes of requests that may be in memory at once; one run is always taken up. */
  mostBytes: number;
  /** A run during which katafleet died this often is taken up only while no other such run is. */
  suspectFrom: number;
  /** Takes a run up. Resolves when the run has ended, and never rejects. */
  start: (run: T) => Promise<void>;
}

/**
 * Takes up the runs that an earlier katafleet left, oldest first: as many as fit into memory, and the others as those end. Runs during
 * which katafleet died repeatedly are taken up one after another. So the run that ends the server is found, and runs beside it are not
 * blamed.
 */
export class Recovery<T extends Recoverable> {
  readonly #options: RecoveryOptions<T>;
  readonly #plain: T[] = [];
  readonly #suspects: T[] = [];
  /** Ids of the runs that are not taken up yet. */
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

  /** Leaves out a run that was cancelled. */
  remove(id: string): void {
    this.#waiting.delete(id);
  }

  /** Takes up the runs that have room. */
  go(): void {
    if (!this.#suspect) this.#next(this.#suspects, true);
    while (this.#next(this.#plain, false));
  }

  /** Stops taking runs up. */
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
