import type { UnendedRun } from '../model/record.ts';

/** What the recovery needs to know about a run. */
export type Recoverable = Pick<UnendedRun, 'id' | 'bytes' | 'abandoned'>;

export interface RecoveryOptions<T extends Recoverable> {
  /** Reads runs that have not ended, oldest first, after the cursor of the page before. */
  page: (after: number | undefined) => Promise<{ runs: readonly T[]; next?: number }>;
  /** `old`: it is to be taken up. `over`: it is not. `new`: this process has accepted it, and so all that come after it. */
  sort: (run: T) => 'old' | 'over' | 'new';
  /** Bytes of requests that may be in memory at once; one run is always taken up. */
  mostBytes: number;
  /** A run during which katafleet died this often is taken up only while no other such run is. */
  suspectFrom: number;
  /** Takes a run up. Resolves when the run has ended, and never rejects. */
  start: (run: T) => Promise<void>;
  /** Called when a page can't be read; it is read again later. */
  onTrouble: (error: unknown) => void;
}

/** The next page is read when fewer runs than this wait to be taken up. */
const fewRuns = 100;
/** After this time a page that could not be read is read again, ms. */
const againMs = 1_000;

/**
 * Takes up the runs that an earlier katafleet left, oldest first and page by page: as many as fit into memory, and the others as those
 * end. Runs during which katafleet died repeatedly are taken up one after another. So the run that ends the server is found, and runs
 * beside it are not blamed.
 */
export class Recovery<T extends Recoverable> {
  readonly #options: RecoveryOptions<T>;
  readonly #plain: T[] = [];
  readonly #suspects: T[] = [];
  /** Ids of the runs that were read and are not taken up yet. */
  readonly #waiting = new Set<string>();
  /** Ids of runs that were cancelled; a page that is being read may still have them. */
  readonly #removed = new Set<string>();
  #cursor: number | undefined;
  #read: 'more' | 'reading' | 'all' = 'more';
  #bytes = 0;
  #suspect = false;
  #stopped = false;
  #again: NodeJS.Timeout | undefined;

  constructor(options: RecoveryOptions<T>) {
    this.#options = options;
  }

  /** Whether a run waits to be taken up. */
  has(id: string): boolean {
    return this.#waiting.has(id);
  }

  /** Leaves out a run that was cancelled. */
  remove(id: string): void {
    this.#waiting.delete(id);
    if (this.#read !== 'all') this.#removed.add(id);
  }

  /** Reads the first page and takes up what has room; the rest follows. Returns how many runs of that page are or will be taken up. */
  async begin(): Promise<number> {
    const found = await this.#load();
    this.#go();
    return found;
  }

  /** Stops taking runs up. */
  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#again);
  }

  async #load(): Promise<number> {
    this.#read = 'reading';
    let page;
    try {
      page = await this.#options.page(this.#cursor);
    } catch (error) {
      this.#read = 'more';
      if (this.#stopped) return 0;
      this.#options.onTrouble(error);
      this.#again = setTimeout(() => this.#go(), againMs).unref();
      return 0;
    }
    this.#cursor = page.next;
    this.#read = page.next === undefined ? 'all' : 'more';
    let found = 0;
    for (const run of page.runs) {
      const sort = this.#removed.has(run.id) ? 'over' : this.#options.sort(run);
      if (sort === 'new') this.#read = 'all';
      if (sort === 'new') break;
      if (sort === 'over') continue;
      (run.abandoned >= this.#options.suspectFrom ? this.#suspects : this.#plain).push(run);
      this.#waiting.add(run.id);
      found += 1;
    }
    if (this.#read === 'all') this.#removed.clear();
    return found;
  }

  /** Takes up the runs that have room. */
  #go(): void {
    if (!this.#suspect) this.#next(this.#suspects, true);
    while (this.#next(this.#plain, false));
    if (this.#read !== 'more' || this.#stopped || this.#plain.length >= fewRuns) return;
    void this.#load().then(() => this.#go());
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
      this.#go();
    });
    return true;
  }
}
