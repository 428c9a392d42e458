import { randomUUID } from 'node:crypto';
import { KatafleetError, messageOf } from '../../model/errors.ts';
import type { Batch, Command, Opened, Read, Said, SentError, WorkerOptions, Write } from '../commands.ts';
import { isDisk } from '../disk.ts';
import { sentError } from '../sent-error.ts';
import { segmentsFolder } from '../files.ts';
import { Book } from './book.ts';
import { Jobs } from './jobs.ts';
import { RunLists, newest } from './lists.ts';
import { OldRuns } from './old.ts';
import { type Db, openDatabase } from './open.ts';
import { Reads, added } from './reads.ts';
import { RunTables } from './runs.ts';
import { SegmentFile } from './segment-file.ts';
import { sweep } from './sweep.ts';
import { Totals } from './totals.ts';

type Numbered<C extends Command> = [number: number, command: C];

const writes: { readonly [D in Write['do']]: true } = {
  accept: true,
  withdraw: true,
  begin: true,
  lost: true,
  finish: true,
  fail: true,
  cancel: true,
  event: true,
  setNode: true,
  maintenanceStarted: true,
  maintenanceEnded: true,
  seal: true,
  probe: true,
};
const isWrite = (command: Command): command is Write => Object.hasOwn(writes, command.do);

/**
 * The database of the store. It takes all commands that wait at once: the writes are done in one transaction and answered after its
 * COMMIT, then the reads. What takes long is done in steps in between.
 */
export class Engine {
  readonly #db: Db;
  readonly #say: (said: Said) => void;
  readonly #totals: Totals;
  readonly #tables: RunTables;
  readonly #book: Book;
  readonly #lists: RunLists;
  readonly #reads: Reads;
  #jobs: Jobs | undefined;
  readonly #files: { requests: SegmentFile; results: SegmentFile };
  readonly #folder: string | undefined;
  readonly #keepBytes: number;
  #old: OldRuns | undefined;
  /** The newest generation of which a write was refused. */
  #refused = -1;
  readonly opened: Opened;

  /**
   * @param again the epoch of the opening, for a worker that takes the place of one that died: its runs are still under way
   * @throws journal.locked, journal.broken, journal.newer
   */
  constructor({ file, keepBytes, power, again }: WorkerOptions, say: (said: Said) => void) {
    this.#say = say;
    this.#keepBytes = keepBytes;
    const db = (this.#db = openDatabase(file, power));
    try {
      this.#folder = file === ':memory:' ? undefined : segmentsFolder(file);
      this.opened = this.#identify(again);
      const { epoch } = this.opened;
      const segmentFile = (kind: 'requests' | 'results') => new SegmentFile(this.#folder ?? '', kind, epoch);
      this.#files = { requests: segmentFile('requests'), results: segmentFile('results') };
      const totals = (this.#totals = new Totals(db));
      this.#old = OldRuns.of(db, this.#files, totals);
      this.#tables = new RunTables(db, totals, {
        byId: (id) => this.#moveNow(id),
        byKey: (tenant, key) => {
          const id = this.#old?.withKey(tenant, key);
          if (id !== undefined) this.#moveNow(id);
        },
        last: this.#old?.last ?? 0,
      });
      this.#book = new Book(db);
      this.#lists = new RunLists(db);
      this.#reads = new Reads(db, (id) => totals.segmentById(id)?.name ?? '');
      if (again === undefined) this.transaction(() => this.#adopt());
      this.#jobs = new Jobs({
        db,
        tables: this.#tables,
        totals,
        book: this.#book,
        files: this.#files,
        folder: this.#folder,
        transaction: (write) => this.transaction(write),
        old: this.#old,
        oldGone: () => (this.#old = undefined),
        over: () => totals.resultBytes() > this.#keepBytes,
        trouble: (trouble) => say({ trouble }),
      });
    } catch (error) {
      db.close();
      throw error;
    }
    if (this.#folder !== undefined) sweep(this.#folder, this.opened.epoch, (name) => this.#totals.known(name) !== undefined);
  }

  #identify(again: number | undefined): Opened {
    const db = this.#db;
    const meta = (key: string, make: () => string) => {
      db.prepare('INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT DO NOTHING').run(key, make());
      return db.prepare<[string], { value: string }>('SELECT value FROM meta WHERE key = ?').get(key)?.value ?? '';
    };
    return db.transaction(() => {
      const identity = meta('identity', randomUUID);
      const since = Number(meta('since', () => String(Date.now())));
      const epoch = again ?? Number(meta('epoch', () => '0')) + 1;
      db.prepare("UPDATE meta SET value = ? WHERE key = 'epoch'").run(String(epoch));
      return { identity, since, epoch };
    })();
  }

  #adopt(): void {
    const now = Date.now();
    this.#tables.adopt(now);
    this.#old?.adopt(now);
    for (const segment of this.#totals.all()) if (!segment.sealed) this.#totals.seal(segment);
  }

  /** Does writes in one transaction. If one fails, none is done. */
  transaction(write: () => void): void {
    this.#db.exec('BEGIN IMMEDIATE');
    let dead: string[];
    try {
      write();
      dead = this.#totals.dropDead();
      this.#totals.write();
      this.#db.exec('COMMIT');
    } catch (error) {
      if (this.#db.inTransaction) this.#db.exec('ROLLBACK'); // a full disk has ended it already
      this.#totals.reload();
      throw error;
    }
    this.#jobs?.remove(dead);
  }

  /** Takes a run of an older journal into today's tables, within the transaction that is under way. */
  #moveNow(id: string): void {
    if (!this.#old?.has(id)) return;
    const moving = this.#old.move(id, this.#tables, (write) => write());
    while (moving.next().done !== true);
  }

  /** Does all commands that wait. */
  turn(batches: readonly Batch[]): void {
    const said: Required<Pick<Said, 'answers' | 'failed'>> & Said = { answers: [], failed: [] };
    const todo: Numbered<Write>[] = [];
    const refused: number[] = [];
    const reads: Numbered<Read>[] = [];
    let newestGeneration = this.#refused;
    for (const { generation, commands } of batches) {
      for (const [number, command] of commands) {
        if (!isWrite(command)) reads.push([number, command]);
        else if (generation <= this.#refused) refused.push(number);
        else todo.push([number, command]);
      }
      newestGeneration = Math.max(newestGeneration, generation);
    }
    let why = 'an earlier write was not taken';
    try {
      this.#write(todo, said);
    } catch (error) {
      this.#refused = newestGeneration;
      said.answers.length = said.failed.length = 0;
      refused.push(...todo.map(([number]) => number));
      why = messageOf(error);
    }
    if (refused.length > 0) said.refused = { numbers: refused.sort((a, b) => a - b), why };
    for (const [number, command] of reads) this.#answer(number, command, said);
    this.#say(said);
    this.#jobs?.wake();
  }

  /** Does writes in one transaction. One that can never be done does not keep the others from it. @throws if the disk takes none */
  #write(todo: Numbered<Write>[], said: { answers: [number, unknown][]; failed: [number, SentError][] }): void {
    for (let left = todo; left.length > 0;) {
      const answers: [number, unknown][] = [];
      const failed: [number, SentError][] = [];
      let bad: number | undefined;
      try {
        this.transaction(() => {
          for (const [number, command] of left) {
            bad = number;
            try {
              answers.push([number, this.#do(command)]);
            } catch (error) {
              if (!(error instanceof KatafleetError)) throw error;
              failed.push([number, sentError(error)]); // it is refused before anything was changed
            }
          }
          bad = undefined;
        });
        for (const answer of answers) said.answers.push(answer);
        for (const failure of failed) said.failed.push(failure);
        return;
      } catch (error) {
        if (isDisk(error) || bad === undefined) throw error;
        said.failed.push([bad, sentError(error)]);
        left = left.filter(([number]) => number !== bad); // the others are done again without it
      }
    }
  }

  #do(command: Write): unknown {
    switch (command.do) {
      case 'accept':
        return this.#tables.accept(command);
      case 'lost':
        return this.#tables.lost(command);
      case 'finish':
        return this.#tables.finish(command);
      case 'fail':
        return this.#tables.fail(command);
      case 'cancel':
        return this.#tables.cancel(command);
      case 'begin':
        this.#tables.begin(command);
        break;
      case 'withdraw':
        this.#tables.withdraw(command);
        break;
      case 'seal':
        this.#totals.seal(this.#totals.segment(command.segment));
        break;
      case 'probe':
        this.#totals.probe();
        break;
      default:
        this.#book.write(command);
    }
    return undefined;
  }

  #answer(number: number, command: Read, said: { answers: [number, unknown][]; failed: [number, SentError][] }): void {
    const failed = (error: unknown) => sentError(isDisk(error) ? diskFull(error) : error);
    try {
      if (command.do === 'prune' || command.do === 'backup') {
        this.#jobs?.add(command).then(
          (answer) => this.#say({ answers: [[number, answer]] }),
          (error: unknown) => this.#say({ failed: [[number, failed(error)]] }),
        );
        return;
      }
      said.answers.push([number, this.#read(command)]);
    } catch (error) {
      said.failed.push([number, failed(error)]);
    }
  }

  #read(command: Exclude<Read, { do: 'prune' | 'backup' }>): unknown {
    switch (command.do) {
      case 'ping':
        return undefined;
      case 'look':
        this.#bring(command.id);
        return this.#reads.look(command.id);
      case 'summary':
        return this.#reads.summary(command.id) ?? this.#old?.summary(command.id);
      case 'request':
        this.#bring(command.id);
        return this.#reads.request(command.id);
      case 'resultSize':
        this.#bring(command.id);
        return this.#reads.resultSize(command.id);
      case 'known':
        if (this.#old) this.#bring(this.#old.withKey(command.tenant, command.key));
        return this.#tables.byKey(command.tenant, command.key);
      case 'unfinished': {
        const { after, limit } = command;
        const runs = this.#reads.unfinished(after, limit);
        if (!this.#old) return runs;
        return [...runs, ...this.#old.unfinished(after, limit)].sort((a, b) => a.sequence - b.sequence).slice(0, limit);
      }
      case 'list': {
        const runs = this.#lists.list(command.of);
        return this.#old ? newest(command.of.limit, [runs, this.#old.list(command.of)]) : runs;
      }
      case 'counts':
        return this.#old ? added(this.#totals.counts(), this.#old.counts()) : this.#totals.counts();
      case 'imageUses':
        return this.#reads.imageUses();
      case 'events':
        return this.#reads.events(command.node, command.limit);
      case 'nodes':
        return this.#reads.nodes();
      case 'maintenance':
        return this.#reads.maintenance(command.job);
    }
  }

  /** Takes a run of an older journal into today's tables before it is read. */
  #bring(id: string | undefined): void {
    if (id !== undefined && this.#old?.has(id)) this.transaction(() => this.#moveNow(id));
  }

  close(): void {
    this.#jobs?.close();
    this.#db.close();
  }
}

const diskFull = (cause: unknown) =>
  new KatafleetError('journal.full', `the journal's disk can't be written: ${messageOf(cause)}`, { cause });
