import { randomUUID } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import { MiB } from '../base/units.ts';
import { KatafleetError } from '../model/errors.ts';
import { canonicalImage } from '../model/image-name.ts';
import { Placing } from '../model/placing.ts';
import {
  type AttemptRecord,
  type KeptRecord,
  type RunRecord,
  type RunState,
  type RunSummary,
  type UnendedRun,
  notCounted,
} from '../model/record.ts';
import type { RunRequest } from '../model/request.ts';
import type { RunResult } from '../model/result.ts';
import { kept, split, whole } from './apart.ts';
import { decodeRequest, decodeResult, encodeRequest, encodeResult, hashOf } from './codec.ts';
import { type Db, openDatabase } from './database.ts';
import { NodeBook } from './node-book.ts';

interface RunRow {
  id: string;
  sequence: number;
  tenant: string;
  key: string | null;
  hash: Buffer;
  image: string;
  placing: string;
  state: RunState;
  attempt: number;
  accepted_at: number;
  ended_at: number | null;
  error: string | null;
}

/** Why an attempt is lost whose katafleet died. */
/** Before a hash over what a client said; earlier releases wrote the bare 32 bytes of one over the request as it was understood. */
const overWhatWasSaid = Buffer.from([2]);
const diedInIt = 'katafleet ended in the middle of it';
/** Why one is lost whose katafleet was told to end, and could not wait for it. */
const stoppedInIt = 'katafleet was stopped in the middle of it';
/** Results forgotten for the sake of one. */
const mostForgotten = 16;
/** How many times its size a result takes when it becomes JSON as a whole: its bytes twice, base64, the text twice, bytes again. */
const asJson = 8;
/** Bytes of a result's pieces that are in memory at once on their way to a client. */
const onTheirWay = 4 * MiB;
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
  readonly #hashes = new WeakMap<object, Buffer>();
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
      const hash = this.#hashOf(run.said ?? { request, placing });
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
    return this.#known(tenant, key, this.#hashOf(said));
  }

  /** Over what the client said, before any default: those may be others by the time it asks again. Once for each value. */
  #hashOf(said: object): Buffer {
    const there = this.#hashes.get(said);
    if (there) return there;
    const hash = Buffer.concat([overWhatWasSaid, hashOf(said)]);
    this.#hashes.set(said, hash);
    return hash;
  }

  #known(tenant: string, key: string | undefined, hash: Buffer): string | undefined {
    const there = key === undefined ? undefined : this.#sql.byKey.get(tenant, key);
    if (!there) return undefined;
    // Earlier releases hashed the request with its defaults, which can't be told any more: there the key's word is enough.
    if (there.hash.length !== hash.length || there.hash.equals(hash)) return there.id;
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
      ...summary(row),
      attempts: this.#attempts(id),
      result: result && kept(decodeResult(result.bytes), (at) => this.#piece(id, at)),
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
    return this.#sql.attempts.all(id).map(({ number, node, warm, resumed, started_at, ended_at, state, reason }) => ({
      number,
      node,
      warm: warm === null ? undefined : warm === 1,
      resumed: resumed === 1,
      startedAt: started_at,
      endedAt: ended_at ?? undefined,
      state,
      reason: reason ?? undefined,
    }));
  }

  /** What a run that is not over asked for. */
  request(id: string): RunRequest | undefined {
    const row = this.#sql.request.get(id);
    return row && decodeRequest(row.bytes);
  }

  /** Newest first, without results. */
  list({ limit, state, tenant }: { limit: number; state?: RunState; tenant?: string }): RunSummary[] {
    return this.#sql.list.all({ limit, state: state ?? null, tenant: tenant ?? null }).map(summary);
  }

  /**
   * Runs that are not over, in the order of their acceptance. `abandoned`: attempts that katafleet itself died in; `stopped`:
   * those that it ended in peace, or that were none of the run's tries.
   */
  *unfinished(): Generator<UnendedRun> {
    for (const row of this.#sql.open.all()) {
      const { id, tenant, placing, acceptedAt } = summary(row);
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

function summary(row: RunRow): RunSummary {
  return {
    id: row.id,
    tenant: row.tenant,
    key: row.key ?? undefined,
    image: row.image,
    state: row.state,
    placing: Placing.parse(JSON.parse(row.placing)),
    acceptedAt: row.accepted_at,
    endedAt: row.ended_at ?? undefined,
    error: row.error === null ? undefined : (JSON.parse(row.error) as { code: string; message: string; hint?: string }),
  };
}

function statements(db: Db) {
  return {
    insert: db.prepare(
      "INSERT INTO runs (id, sequence, tenant, key, hash, image, placing, state, accepted_at) VALUES (?, ?, ?, ?, ?, ?, ?, 'waiting', ?)",
    ),
    insertRequest: db.prepare('INSERT INTO requests (run, bytes) VALUES (?, ?)'),
    used: db.prepare('INSERT INTO image_uses (image, used_at) VALUES (?, ?) ON CONFLICT DO UPDATE SET used_at = excluded.used_at'),
    uses: db.prepare<[], { image: string; used_at: number }>('SELECT image, used_at FROM image_uses'),
    byKey: db.prepare<[string, string], { id: string; hash: Buffer }>('SELECT id, hash FROM runs WHERE tenant = ? AND key = ?'),
    begin: db.prepare("UPDATE runs SET state = 'running', attempt = ? WHERE id = ? AND ended_at IS NULL AND attempt < ?"),
    insertAttempt: db.prepare(
      "INSERT INTO attempts (run, number, node, warm, resumed, started_at, state) VALUES (?, ?, ?, ?, ?, ?, 'running')",
    ),
    endAttempt: db.prepare("UPDATE attempts SET state = ?, reason = ?, ended_at = ? WHERE run = ? AND number = ? AND state = 'running'"),
    endAttempts: db.prepare("UPDATE attempts SET state = ?, reason = ?, ended_at = ? WHERE run = ? AND state = 'running'"),
    lost: db.prepare("UPDATE runs SET state = 'waiting' WHERE id = ? AND ended_at IS NULL AND state = 'running' AND attempt = ?"),
    // One journal has one katafleet: what was under way when it is opened is under way no more.
    orphanAttempts: db.prepare(
      `UPDATE attempts SET state = 'lost', reason = '${diedInIt}', ended_at = ?
        WHERE state = 'running' AND run IN (SELECT id FROM runs WHERE ended_at IS NULL)`,
    ),
    orphanRuns: db.prepare("UPDATE runs SET state = 'waiting' WHERE ended_at IS NULL AND state = 'running'"),
    finish: db.prepare(
      "UPDATE runs SET state = 'finished', ended_at = ? WHERE id = ? AND ended_at IS NULL AND state = 'running' AND attempt = ?",
    ),
    insertPiece: db.prepare('INSERT INTO pieces (run, number, bytes) VALUES (?, ?, ?)'),
    piece: db.prepare<[string, number], { bytes: Buffer }>('SELECT bytes FROM pieces WHERE run = ? AND number = ?'),
    insertResult: db.prepare('INSERT INTO results (run, bytes) VALUES (?, ?)'),
    dropRequest: db.prepare('DELETE FROM requests WHERE run = ?'),
    fail: db.prepare(
      'UPDATE runs SET state = @state, error = @error, ended_at = @at WHERE id = @id AND ended_at IS NULL AND (@attempt IS NULL OR attempt = @attempt)',
    ),
    byId: db.prepare<[string], RunRow>('SELECT * FROM runs WHERE id = ?'),
    result: db.prepare<[string], { bytes: Buffer }>('SELECT bytes FROM results WHERE run = ?'),
    request: db.prepare<[string], { bytes: Buffer }>('SELECT bytes FROM requests WHERE run = ?'),
    attempts: db.prepare<
      [string],
      {
        number: number;
        node: string;
        warm: number | null;
        resumed: number;
        started_at: number;
        ended_at: number | null;
        state: AttemptRecord['state'];
        reason: string | null;
      }
    >('SELECT * FROM attempts WHERE run = ? ORDER BY number'),
    list: db.prepare<[{ limit: number; state: string | null; tenant: string | null }], RunRow>(
      'SELECT * FROM runs WHERE (@state IS NULL OR state = @state) AND (@tenant IS NULL OR tenant = @tenant) ORDER BY sequence DESC LIMIT @limit',
    ),
    open: db.prepare<[], RunRow & { abandoned: number; stopped: number; bytes: number }>(
      `SELECT *, coalesce((SELECT length(bytes) FROM requests WHERE run = runs.id), 0) AS bytes,
        (SELECT count(*) FROM attempts WHERE run = runs.id AND reason = '${diedInIt}') AS abandoned,
        (SELECT count(*) FROM attempts WHERE run = runs.id AND (reason = '${stoppedInIt}' OR reason GLOB '${notCounted}*')) AS stopped
        FROM runs WHERE ended_at IS NULL ORDER BY sequence`,
    ),
    counts: db.prepare<[], { state: RunState; count: number }>('SELECT state, count(*) AS count FROM runs GROUP BY state'),
    allResultBytes: db.prepare<[], { bytes: number }>(
      'SELECT (SELECT coalesce(sum(length(bytes)), 0) FROM results) + (SELECT coalesce(sum(length(bytes)), 0) FROM pieces) AS bytes',
    ),
    resultBytes: db.prepare<[string], { bytes: number }>(
      `SELECT ${asJson} * length(bytes) + min(${onTheirWay}, coalesce((SELECT sum(length(bytes)) FROM pieces WHERE run = results.run), 0)) AS bytes
        FROM results WHERE run = ?`,
    ),
    oldestResults: db.prepare<[string, number], { run: string; bytes: number }>(
      `SELECT run, length(bytes) + coalesce((SELECT sum(length(bytes)) FROM pieces WHERE run = runs.id), 0) AS bytes
        FROM runs JOIN results ON run = runs.id
        WHERE ended_at IS NOT NULL AND runs.id <> ? ORDER BY ended_at LIMIT ?`,
    ),
    forget: db.prepare('DELETE FROM runs WHERE id = ?'),
    pruneRuns: db.prepare('DELETE FROM runs WHERE id IN (SELECT id FROM runs WHERE ended_at IS NOT NULL AND ended_at < ? LIMIT ?)'),
  };
}
