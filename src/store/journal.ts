import { randomUUID } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import { KatafleetError } from '../model/errors.ts';
import { canonicalImage } from '../model/image-name.ts';
import type { Placing } from '../model/placing.ts';
import type { AttemptRecord, KeptRecord, RunRecord, RunState, RunSummary, UnendedRun } from '../model/record.ts';
import type { RunRequest } from '../model/request.ts';
import type { RunResult } from '../model/result.ts';
import { keptResult, split, whole } from './apart.ts';
import { decodeRequest, decodeResult, encodeRequest, encodeResult } from './codec.ts';
import { type Db, openDatabase } from './database.ts';
import { NodeBook } from './node-book.ts';
import { isSameRequest, RequestHashes } from './request-hash.ts';
import { attemptOf, summaryOf } from './run-rows.ts';
import { statements, stoppedInIt } from './run-statements.ts';

/** Results forgotten for the sake of one. */
const mostForgotten = 16;
/** Rows forgotten in one transaction. */
const batch = 500;

/**
 * What must outlive the process: accepted runs, their attempts, their one result; what happened to nodes; maintenance.
 * Times are Unix ms. Every call is one transaction, and done when it returns.
 */
export class Journal extends NodeBook implements Disposable {
  /** Made once per journal: which fleet its containers belong to. */
  readonly identity: string;
  /** Counts up with each opening: what carries an older one is left over. */
  readonly epoch: number;
  /** When the journal was made, Unix ms. */
  readonly since: number;
  readonly #db: Db;
  readonly #hashes = new RequestHashes();
  readonly #sql;
  readonly #keepBytes: number;
  #sequence: number;
  /** Bytes of all results. */
  #resultBytes: number;

  private constructor(db: Db, keepBytes: number) {
    super(db);
    this.#db = db;
    this.#sql = statements(db);
    const meta = (key: string, make: () => string) => {
      db.prepare('INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT DO NOTHING').run(key, make());
      return db.prepare<[string], { value: string }>('SELECT value FROM meta WHERE key = ?').get(key)?.value ?? '';
    };
    this.identity = meta('identity', randomUUID);
    this.since = Number(meta('since', () => String(Date.now())));
    this.epoch = Number(meta('epoch', () => '0')) + 1;
    db.prepare("UPDATE meta SET value = ? WHERE key = 'epoch'").run(String(this.epoch));
    db.transaction(() => {
      this.#sql.orphanAttempts.run(Date.now());
      this.#sql.orphanRuns.run();
    })();
    this.#keepBytes = keepBytes;
    this.#resultBytes = this.#sql.allResultBytes.get()?.bytes ?? 0;
    this.#sequence = db.prepare<[], { last: number | null }>('SELECT max(sequence) AS last FROM runs').get()?.last ?? 0;
  }

  /** `:memory:` keeps it nowhere. Beyond `keepBytes` of results the oldest are forgotten, with their runs. @throws journal.locked, journal.broken, journal.newer */
  static open(file: string, { keepBytes = Infinity }: { keepBytes?: number } = {}): Journal {
    return new Journal(openDatabase(file), keepBytes);
  }

  /**
   * Writes a run down, or finds the one that the same tenant's same key was given to.
   * @throws request.conflict when that one was another; request.invalid
   */
  accept(run: { id: string; tenant: string; key?: string; said?: object; request: RunRequest; placing: Placing; at: number }): {
    id: string;
    known: boolean;
  } {
    const bytes = encodeRequest(run.request);
    return this.#db.transaction(() => {
      const { id, tenant, key, request, placing, at } = run;
      const hash = this.#hashes.of(run.said ?? { request, placing });
      const known = this.#known(tenant, key, hash);
      if (known !== undefined) return { id: known, known: true };
      this.#sequence += 1;
      this.#sql.insert.run(id, this.#sequence, tenant, key ?? null, hash, request.image, JSON.stringify(placing), at);
      this.#sql.insertRequest.run(id, bytes);
      this.#sql.used.run(canonicalImage(request.image), at);
      return { id, known: false };
    })();
  }

  /** The run that a tenant's key was given to. @throws request.conflict when that was another request */
  known(tenant: string, key: string, said: object): string | undefined {
    return this.#known(tenant, key, this.#hashes.of(said));
  }

  #known(tenant: string, key: string | undefined, hash: Buffer): string | undefined {
    const there = key === undefined ? undefined : this.#sql.byKey.get(tenant, key);
    if (!there || isSameRequest(there.hash, hash)) return there?.id;
    throw new KatafleetError('request.conflict', `the idempotency key ${JSON.stringify(key)} was used for another run, ${there.id}`, {
      hint: 'a key stands for one request; take a new key for a new run',
    });
  }

  /** An attempt begins; numbers only grow. @throws internal for a run that is over or a number that is not the next */
  begin(id: string, attempt: number, where: { node: string; warm?: boolean; resumed?: boolean }, at: number): void {
    this.#db.transaction(() => {
      if (this.#sql.begin.run(attempt, id, attempt).changes !== 1) {
        throw new KatafleetError('internal', `attempt ${attempt} of the run ${id} can't begin: it is over, or that is no new attempt`);
      }
      this.#sql.insertAttempt.run(
        id,
        attempt,
        where.node,
        where.warm === undefined ? null : Number(where.warm),
        Number(where.resumed ?? false),
        at,
      );
    })();
  }

  /** An attempt is over without a result, and the run waits again. False when it was not the current one any more. */
  lost(id: string, attempt: number, reason: string, at: number): boolean {
    return this.#db.transaction(() => {
      this.#sql.endAttempt.run('lost', reason, at, id, attempt);
      return this.#sql.lost.run(id, attempt).changes === 1;
    })();
  }

  /** A katafleet that ends in peace leaves the run to the next one: this attempt counts as no try. */
  stopped(id: string, attempt: number, at: number): boolean {
    return this.lost(id, attempt, stoppedInIt, at);
  }

  /** Accepts the one result. False, and nothing is kept, when the run is over or a newer attempt has begun. */
  finish(id: string, attempt: number, result: RunResult, at: number): boolean {
    return this.#db.transaction(() => {
      if (this.#sql.finish.run(at, id, attempt).changes !== 1) return false;
      const { result: head, pieces } = split(result);
      const bytes = encodeResult(head);
      this.#sql.insertResult.run(id, bytes);
      for (const [number, piece] of pieces.entries()) this.#sql.insertPiece.run(id, number, piece);
      this.#resultBytes += pieces.reduce((sum, { length }) => sum + length, bytes.length);
      this.#forgetOldest(id);
      this.#sql.endAttempt.run('accepted', null, at, id, attempt);
      this.#sql.dropRequest.run(id);
      return true;
    })();
  }

  /** Makes room for a result: a few of the oldest go for each that comes, so that no call takes long. */
  #forgetOldest(but: string): void {
    if (this.#resultBytes <= this.#keepBytes) return;
    for (const { run, bytes } of this.#sql.oldestResults.all(but, mostForgotten)) {
      this.#sql.forget.run(run);
      this.#resultBytes -= bytes;
      if (this.#resultBytes <= this.#keepBytes) return;
    }
  }

  /** The run is over without a result. False when it was over before, or the attempt is not the current one. */
  fail(id: string, attempt: number | undefined, error: { code: string; message: string; hint?: string }, at: number): boolean {
    return this.#db.transaction(() => {
      if (this.#sql.fail.run({ state: 'failed', error: JSON.stringify(error), at, id, attempt: attempt ?? null }).changes !== 1)
        return false;
      this.#sql.endAttempts.run('failed', error.message, at, id);
      this.#sql.dropRequest.run(id);
      return true;
    })();
  }

  cancel(id: string, at: number): boolean {
    return this.#db.transaction(() => {
      if (this.#sql.fail.run({ state: 'cancelled', error: null, at, id, attempt: null }).changes !== 1) return false;
      this.#sql.endAttempts.run('cancelled', null, at, id);
      this.#sql.dropRequest.run(id);
      return true;
    })();
  }

  /** A run with all of its result in memory. */
  get(id: string): RunRecord | undefined {
    const record = this.look(id);
    return record && { ...record, result: record.result && whole(record.result) };
  }

  /** A run without its large files in memory. */
  look(id: string): KeptRecord | undefined {
    const row = this.#sql.byId.get(id);
    if (!row) return undefined;
    const result = row.state === 'finished' ? this.#sql.result.get(id) : undefined;
    return {
      ...summaryOf(row),
      attempts: this.#attempts(id),
      result: result && keptResult(decodeResult(result.bytes), (at) => this.#piece(id, at)),
    };
  }

  #piece(run: string, number: number): Buffer {
    const row = this.#db.open ? this.#sql.piece.get(run, number) : undefined;
    if (!row) throw new KatafleetError('run.unknown', `the run ${run} is forgotten, its files with it`);
    return row.bytes;
  }

  /** Bytes of memory that it takes to tell a run's result as JSON, where its large files go piece by piece; 0 where there is none. */
  resultBytes(id: string): number {
    return this.#sql.resultBytes.get(id)?.bytes ?? 0;
  }

  #attempts(id: string): AttemptRecord[] {
    return this.#sql.attempts.all(id).map(attemptOf);
  }

  /** What a run that is not over asked for. */
  request(id: string): RunRequest | undefined {
    const row = this.#sql.request.get(id);
    return row && decodeRequest(row.bytes);
  }

  /** Newest first, without results. */
  list({ limit, state, tenant }: { limit: number; state?: RunState; tenant?: string }): RunSummary[] {
    return this.#sql.list.all({ limit, state: state ?? null, tenant: tenant ?? null }).map(summaryOf);
  }

  /**
   * Runs that are not over, in the order of their acceptance. `abandoned`: attempts that katafleet itself died in; `stopped`:
   * those that it ended in peace, or that were none of the run's tries.
   */
  *unfinished(): Generator<UnendedRun> {
    for (const row of this.#sql.open.all()) {
      const { id, tenant, placing, acceptedAt } = summaryOf(row);
      yield { id, tenant, placing, acceptedAt, bytes: row.bytes, lastAttempt: row.attempt, abandoned: row.abandoned, stopped: row.stopped };
    }
  }

  counts(): Record<RunState, number> {
    const counts = { waiting: 0, running: 0, finished: 0, failed: 0, cancelled: 0 };
    for (const { state, count } of this.#sql.counts.all()) counts[state] = count;
    return counts;
  }

  /** When each image, by its canonical name, was last asked for. */
  imageUses(): Map<string, number> {
    return new Map(this.#sql.uses.all().map(({ image, used_at }) => [image, used_at]));
  }

  /** Forgets runs that were over, and events that happened, before a time; keys of forgotten runs can be used again. */
  async prune({ resultsBefore, eventsBefore }: { resultsBefore: number; eventsBefore: number }): Promise<{ runs: number; events: number }> {
    let runs = 0;
    for (let gone = batch; gone === batch && this.#db.open; runs += gone) {
      gone = this.#sql.pruneRuns.run(resultsBefore, batch).changes;
      await setImmediate(); // runs go on in between
    }
    if (!this.#db.open) return { runs, events: 0 };
    this.#resultBytes = this.#sql.allResultBytes.get()?.bytes ?? 0;
    for (let before = Infinity; this.#db.open && this.#resultBytes > this.#keepBytes && this.#resultBytes < before;) {
      before = this.#resultBytes;
      this.#forgetOldest('');
      await setImmediate();
    }
    if (!this.#db.open) return { runs, events: 0 };
    const events = this.pruneEvents(eventsBefore);
    this.#db.pragma('incremental_vacuum');
    return { runs, events };
  }

  close(): void {
    this.#db.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
