import { messageOf } from '../../model/errors.ts';
import type { Read } from '../commands.ts';
import { isDisk } from '../disk.ts';
import { backup } from './backup.ts';
import type { Book } from './book.ts';
import { Compaction } from './compaction.ts';
import type { OldRuns } from './old.ts';
import type { Db } from './open.ts';
import { Retention } from './retention.ts';
import type { RunTables } from './runs.ts';
import type { SegmentFile } from './segment-file.ts';
import { unlinkAll } from './sweep.ts';
import type { Totals } from './totals.ts';

interface JobOptions {
  db: Db;
  tables: RunTables;
  totals: Totals;
  book: Book;
  files: { requests: SegmentFile; results: SegmentFile };
  folder: string | undefined;
  transaction: (write: () => void) => void;
  old: OldRuns | undefined;
  /** Called when nothing is left in the old tables. */
  oldGone: () => void;
  /** Whether the results have more bytes than are kept. */
  over: () => boolean;
  trouble: (message: string) => void;
}

type Asked = Extract<Read, { do: 'prune' | 'backup' }>;
type JobSteps = Generator<undefined, unknown>;

/** How long a job that failed waits, ms. */
const againMs = 60_000;
const eventsAtOnce = 200;

/** What takes long: it is done in short steps, one after each turn of commands, and on when there are none. */
export class Jobs {
  readonly #options: JobOptions;
  readonly #retention: Retention;
  readonly #compaction: Compaction | undefined;
  readonly #queue: { steps: JobSteps; done: (answer: unknown) => void; failed: (error: unknown) => void }[] = [];
  /** Dead files that a backup still needs. */
  readonly #dead: string[] = [];
  #backups = 0;
  #next: NodeJS.Immediate | undefined;
  #later: NodeJS.Timeout | undefined;
  #rest = false;
  #old: OldRuns | undefined;
  #closed = false;

  constructor(options: JobOptions) {
    const { db, tables, totals, folder, files } = options;
    this.#options = options;
    this.#old = options.old;
    this.#retention = new Retention(db, tables);
    this.#compaction = folder === undefined ? undefined : new Compaction(db, totals, folder, files.requests);
  }

  /** Does a job and returns its answer. */
  add(asked: Asked): Promise<unknown> {
    return new Promise((done, failed) => {
      if (asked.do === 'prune') this.#queue.push({ steps: this.#prune(asked), done, failed });
      else this.#backup(asked.folder).then(done, failed);
      this.wake();
    });
  }

  async #backup(to: string): Promise<void> {
    const { db, totals, folder } = this.#options;
    this.#backups += 1;
    try {
      await backup(db, to, folder, () => Array.from(totals.all(), ({ name }) => name));
    } finally {
      this.#backups -= 1;
      if (this.#backups === 0) this.remove(this.#dead.splice(0));
    }
  }

  /** Removes the files of dead segments, when no backup needs them. */
  remove(names: readonly string[]): void {
    const { folder, trouble } = this.#options;
    if (folder === undefined || names.length === 0) return;
    if (this.#backups > 0) this.#dead.push(...names);
    else void unlinkAll(folder, names, trouble);
  }

  *#prune({ resultsBefore, eventsBefore }: Extract<Asked, { do: 'prune' }>): JobSteps {
    const { book, transaction } = this.#options;
    while (this.#old) yield* this.#moveOld(this.#old); // their times count too
    const runs = (yield* this.#retention.before(resultsBefore, this.#options)) + (yield* this.#forgetOver());
    let events = 0;
    for (let gone = eventsAtOnce; gone === eventsAtOnce; events += gone) {
      transaction(() => (gone = book.prune(eventsBefore, eventsAtOnce)));
      yield;
    }
    yield* this.#retention.vacuum();
    return { runs, events };
  }

  *#forgetOver(): Generator<undefined, number> {
    return yield* this.#retention.whileOver(this.#options.over, this.#options);
  }

  *#moveOld(old: OldRuns): Generator<undefined, void> {
    const { tables, transaction, files, oldGone } = this.#options;
    const id = old.next();
    if (id !== undefined) {
      yield* old.move(id, tables, transaction);
      this.#sealFull();
      return;
    }
    for (const file of [files.requests, files.results]) file.seal();
    this.#sealFull();
    transaction(() => old.drop()); // all or none: what is half gone can't be opened again
    this.#old = undefined;
    oldGone();
    yield;
    yield* this.#retention.vacuum();
  }

  /** Tells the database of the worker's own files that have ended. No record of them is under way now. */
  #sealFull(): void {
    const { files, totals, transaction } = this.#options;
    const names = [files.requests, files.results].flatMap((file) => file.sealed());
    if (names.length === 0) return;
    transaction(() => {
      for (const name of names) totals.seal(totals.segment(name));
    });
  }

  *#compact(compaction: Compaction, of: Parameters<Compaction['compact']>[0]): Generator<undefined, void> {
    yield* compaction.compact(of, this.#options);
    this.#options.files.requests.seal();
    this.#sealFull();
  }

  /** Returns the steps of what should be done now, if there is anything. */
  #work(): JobSteps | undefined {
    if (this.#options.over()) return this.#forgetOver();
    if (this.#old) return this.#moveOld(this.#old);
    const segment = this.#compaction?.find();
    return this.#compaction && segment && this.#compact(this.#compaction, segment);
  }

  /** Goes on after a turn of commands. */
  wake(): void {
    if (this.#closed || this.#next) return;
    this.#next = setImmediate(() => {
      this.#next = undefined;
      if (this.#closed) return;
      if (this.#step()) this.wake();
    });
  }

  /** The job that is under way by itself; others wait until it is done. */
  #current: JobSteps | undefined;

  #step(): boolean {
    const [asked] = this.#queue;
    if (asked && !this.#current) {
      try {
        const { done, value } = asked.steps.next();
        if (done !== true) return true;
        asked.done(value);
      } catch (error) {
        asked.failed(error);
      }
      this.#queue.shift();
      return true;
    }
    if (this.#rest) return false;
    try {
      this.#current ??= this.#work();
      if (!this.#current) return false;
      if (this.#current.next().done === true) this.#current = undefined;
      return true;
    } catch (error) {
      this.#current = undefined;
      this.#restAWhile(error);
      return this.#queue.length > 0;
    }
  }

  #restAWhile(error: unknown): void {
    if (!isDisk(error)) this.#options.trouble(`the journal's upkeep failed, and is tried again: ${messageOf(error)}`);
    this.#rest = true;
    this.#later = setTimeout(() => {
      this.#rest = false;
      this.wake();
    }, againMs).unref();
  }

  close(): void {
    this.#closed = true;
    clearImmediate(this.#next);
    clearTimeout(this.#later);
    for (const steps of [this.#current, ...this.#queue.map((asked) => asked.steps)]) steps?.return(undefined);
  }
}
