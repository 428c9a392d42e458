import { randomUUID } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import { stoppedInIt } from '../model/attempt-reason.ts';
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
import { statements } from './run-statements.ts';

/** Most results that are removed to make room for one. */
const mostForgotten = 16;
/** Rows that are removed in one transaction. */
const batch = 500;

/**
 * Stores what must outlive the process: accepted runs, their attempts and results, events of nodes, maintenance. Times are Unix ms.
 * Each call is one transaction, which is complete when the call returns.
 */
export class Journal extends NodeBook implements Disposable {
  /** Created once per journal: it marks the containers of this fleet. */
  readonly identity: string;
  /** Increases at each opening: a container with an older one is a leftover. */
  readonly epoch: number;
  /** When the journal was created (Unix ms). */
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

  /**
   * Opens a journal; `:memory:` stores nothing on disk. If the results exceed `keepBytes`, the oldest runs are removed with their
   * results.
   * @throws journal.locked, journal.broken, journal.newer
   */
  static open(file: string, { keepBytes = Infinity }: { keepBytes?: number } = {}): Journal {
    return new Journal(openDatabase(file), keepBytes);
  }

  /**
   * Stores a run, or returns the run that has the same tenant and key.
   * @throws request.conflict if that run's request differs; request.invalid
   */
  accept(run: { id: string; tenant: string; key?: string; sent?: object; request: RunRequest; placing: Placing; at: number }): {
    id: string;
    known: boolean;
  } {
    const bytes = encodeRequest(run.request);
    return this.#db.transaction(() => {
      const { id, tenant, key, request, placing, at } = run;
      const hash = this.#hashes.of(run.sent ?? { request, placing });
      const known = this.#known(tenant, key, hash);
      if (known !== undefined) return { id: known, known: true };
      this.#sequence += 1;
      this.#sql.insert.run(id, this.#sequence, tenant, key ?? null, hash, request.image, JSON.stringify(placing), at);
      this.#sql.insertRequest.run(id, bytes);
      this.#sql.used.run(canonicalImage(request.image), at);
      return { id, known: false };
    })();
  }

  /** Returns the run that has a tenant's key. @throws request.conflict if that run's request differs */
  known(tenant: string, key: string, sent: object): string | undefined {
    return this.#known(tenant, key, this.#hashes.of(sent));
  }

  #known(tenant: string, key: string | undefined, hash: Buffer): string | undefined {
    const there = key === undefined ? undefined : this.#sql.byKey.get(tenant, key);
    if (!there || isSameRequest(there.hash, hash)) return there?.id;
    throw new KatafleetError('request.conflict', `the idempotency key ${JSON.stringify(key)} was used for another run, ${there.id}`, {
      hint: 'a key belongs to one request: use a new key for a new run',
    });
  }

  /** Stores that an attempt begins. @throws internal for a run that has ended, or for a number that is not the next */
  begin(id: string, attempt: number, where: { node: string; warm?: boolean; resumed?: boolean }, at: number): void {
    this.#db.transaction(() => {
      if (this.#sql.begin.run(attempt, id, attempt).changes !== 1) {
        throw new KatafleetError('internal', `attempt ${attempt} of the run ${id} can't begin: the run is over, or a newer attempt exists`);
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

  /** Stores that an attempt ended without a result; the run waits again. Returns false if it was not the current attempt. */
  lost(id: string, attempt: number, reason: string, at: number): boolean {
    return this.#db.transaction(() => {
      this.#sql.endAttempt.run('lost', reason, at, id, attempt);
      return this.#sql.lost.run(id, attempt).changes === 1;
    })();
  }

  /** Stores that katafleet ended before the attempt did. The next katafleet runs it again, and this attempt does not count. */
  stopped(id: string, attempt: number, at: number): boolean {
    return this.lost(id, attempt, stoppedInIt, at);
  }

  /** Accepts a run's only result. Returns false and stores nothing if the run has ended or a newer attempt has begun. */
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

  /** Removes a few of the oldest results for each new one, so that no call takes long. */
  #forgetOldest(but: string): void {
    if (this.#resultBytes <= this.#keepBytes) return;
    for (const { run, bytes } of this.#sql.oldestResults.all(but, mostForgotten)) {
      this.#sql.forget.run(run);
      this.#resultBytes -= bytes;
      if (this.#resultBytes <= this.#keepBytes) return;
    }
  }

  /** Stores that a run ended without a result. Returns false if it had ended before, or the attempt is not the current one. */
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

  /** Returns a run with its whole result in memory. */
  get(id: string): RunRecord | undefined {
    const record = this.look(id);
    return record && { ...record, result: record.result && whole(record.result) };
  }

  /** Returns a run without its large files in memory. */
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

  /** Returns the memory that a run's result needs as JSON (bytes), if its large files are sent piece by piece; 0 if it has no result. */
  resultBytes(id: string): number {
    return this.#sql.resultBytes.get(id)?.bytes ?? 0;
  }

  #attempts(id: string): AttemptRecord[] {
    return this.#sql.attempts.all(id).map(attemptOf);
  }

  /** Returns the request of a run that has not ended. */
  request(id: string): RunRequest | undefined {
    const row = this.#sql.request.get(id);
    return row && decodeRequest(row.bytes);
  }

  /** Lists runs without their results, newest first. */
  list({ limit, state, tenant }: { limit: number; state?: RunState; tenant?: string }): RunSummary[] {
    return this.#sql.list.all({ limit, state: state ?? null, tenant: tenant ?? null }).map(summaryOf);
  }

  /**
   * Returns the runs that have not ended, in the order of acceptance. `abandoned`: attempts during which katafleet itself died;
   * `stopped`: attempts that katafleet ended in order, or that do not count for another reason.
   */
  *unfinished(): Generator<UnendedRun> {
    for (const row of this.#sql.open.all()) {
      const { id, tenant, placing, acceptedAt } = summaryOf(row);
      const { bytes, abandoned, stopped, begun } = row;
      yield { id, tenant, placing, acceptedAt, bytes, lastAttempt: row.attempt, tries: begun - stopped, abandoned, stopped };
    }
  }

  counts(): Record<RunState, number> {
    const counts = { waiting: 0, running: 0, finished: 0, failed: 0, cancelled: 0 };
    for (const { state, count } of this.#sql.counts.all()) counts[state] = count;
    return counts;
  }

  /** Returns the time of the last request for each image, by the image's canonical name. */
  imageUses(): Map<string, number> {
    return new Map(this.#sql.uses.all().map(({ image, used_at }) => [image, used_at]));
  }

  /** Removes runs that ended, and events that happened, before a time. Keys of removed runs can be used again. */
  async prune({ resultsBefore, eventsBefore }: { resultsBefore: number; eventsBefore: number }): Promise<{ runs: number; events: number }> {
    let runs = 0;
    for (let gone = batch; gone === batch && this.#db.open; runs += gone) {
      gone = this.#sql.pruneRuns.run(resultsBefore, batch).changes;
      await setImmediate(); // lets other work run in between
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
