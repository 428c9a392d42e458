import { diedInIt } from '../../model/attempt-reason.ts';
import type { RunState } from '../../model/record.ts';
import type { RunList } from '../../model/run-store.ts';
import type { RunRow, Stored, UnendedRow } from '../commands.ts';
import { decodeOld, type OldApart, type OldResult } from '../form/old.ts';
import { Elsewhere, type Encoded, encode, joined } from '../form/record.ts';
import { farContents, mostInRow } from '../form/result.ts';
import type { Db } from './open.ts';
import { unendedColumns } from './reads.ts';
import type { RunTables } from './runs.ts';
import { oldTables } from './schema.ts';
import type { SegmentFile } from './segment-file.ts';
import type { Totals } from './totals.ts';

interface OldRow extends RunRow {
  hash: Buffer;
  attempt: number;
}

/** Rows of pieces that are removed in one step. */
const piecesAtOnce = 8;

/**
 * The tables of release 0.1. Its runs are moved to today's tables one by one, in the background, and at once if one is asked for.
 * Until then lists and counts look at both.
 */
export class OldRuns {
  readonly #db: Db;
  readonly #sql;
  readonly #files: { requests: SegmentFile; results: SegmentFile };
  readonly #totals: Totals;

  private constructor(db: Db, files: { requests: SegmentFile; results: SegmentFile }, totals: Totals) {
    this.#db = db;
    this.#files = files;
    this.#totals = totals;
    this.#sql = {
      byId: db.prepare<[string], OldRow>('SELECT * FROM old_runs WHERE id = ?'),
      byKey: db.prepare<[string, string], { id: string }>('SELECT id FROM old_runs WHERE tenant = ? AND key = ?'),
      newest: db.prepare<[], { id: string }>('SELECT id FROM old_runs ORDER BY sequence DESC LIMIT 1'),
      last: db.prepare<[], { last: number | null }>('SELECT max(sequence) AS last FROM old_runs'),
      counts: db.prepare<[], { state: RunState; count: number }>('SELECT state, count(*) AS count FROM old_runs GROUP BY state'),
      request: db.prepare<[string], { bytes: Buffer }>('SELECT bytes FROM old_requests WHERE run = ?'),
      result: db.prepare<[string], { bytes: Buffer }>('SELECT bytes FROM old_results WHERE run = ?'),
      piece: db.prepare<[string, number], { bytes: Buffer }>('SELECT bytes FROM old_pieces WHERE run = ? AND number = ?'),
      insert: db.prepare(
        `INSERT INTO runs (sequence, id, tenant, key, hash, image, placing, state, attempt, accepted_at, ended_at, error)
          SELECT sequence, id, tenant, key, hash, image, placing, state, attempt, accepted_at, ended_at, error FROM old_runs WHERE id = ?`,
      ),
      insertAttempts: db.prepare(
        `INSERT INTO attempts (run, number, node, warm, resumed, started_at, ended_at, state, reason)
          SELECT ?, number, node, warm, resumed, started_at, ended_at, state, reason FROM old_attempts WHERE run = ?`,
      ),
      unfinished: db.prepare<[number, number], UnendedRow>(
        `SELECT ${unendedColumns('old_runs', 'old_attempts', 'id')},
          coalesce((SELECT length(bytes) FROM old_requests WHERE run = old_runs.id), 0) AS bytes
          FROM old_runs WHERE ended_at IS NULL AND sequence > ? ORDER BY sequence LIMIT ?`,
      ),
      drops: ['attempts', 'requests', 'results'].map((table) => db.prepare(`DELETE FROM old_${table} WHERE run = ?`)),
      drop: db.prepare('DELETE FROM old_runs WHERE id = ?'),
      dropPieces: db.prepare(`DELETE FROM old_pieces WHERE rowid IN (SELECT rowid FROM old_pieces WHERE run = ? LIMIT ${piecesAtOnce})`),
      orphanAttempts: db.prepare(
        `UPDATE old_attempts SET state = 'lost', reason = '${diedInIt}', ended_at = ?
          WHERE state = 'running' AND run IN (SELECT id FROM old_runs WHERE ended_at IS NULL)`,
      ),
      orphanRuns: db.prepare("UPDATE old_runs SET state = 'waiting', attempt = attempt + 1 WHERE ended_at IS NULL"),
    };
  }

  /** Returns the old tables if there are any. */
  static of(db: Db, files: { requests: SegmentFile; results: SegmentFile }, totals: Totals): OldRuns | undefined {
    const there = db.prepare("SELECT 1 FROM sqlite_master WHERE name = 'old_runs'").get();
    return there ? new OldRuns(db, files, totals) : undefined;
  }

  get last(): number {
    return this.#sql.last.get()?.last ?? 0;
  }

  adopt(now: number): void {
    this.#sql.orphanAttempts.run(now);
    this.#sql.orphanRuns.run();
  }

  has(id: string): boolean {
    return this.#sql.byId.get(id) !== undefined;
  }

  summary(id: string): RunRow | undefined {
    return this.#sql.byId.get(id);
  }

  withKey(tenant: string, key: string): string | undefined {
    return this.#sql.byKey.get(tenant, key)?.id;
  }

  /** Returns the run that is moved next: newer ones are asked for more often. */
  next(): string | undefined {
    return this.#sql.newest.get()?.id;
  }

  counts(): { state: RunState; count: number }[] {
    return this.#sql.counts.all();
  }

  unfinished(after: number, limit: number): UnendedRow[] {
    return this.#sql.unfinished.all(after, limit);
  }

  list({ limit, before, after, since, until, ...equal }: RunList): RunRow[] {
    const where = ['sequence < @before', 'sequence > @after', 'accepted_at >= @since', 'accepted_at < @until'];
    const most = Number.MAX_SAFE_INTEGER;
    const values: Record<string, string | number> = {
      limit,
      before: before ?? most,
      after: after ?? 0,
      since: since ?? 0,
      until: until ?? most,
    };
    for (const name of ['state', 'tenant', 'image', 'key'] as const) {
      const value = equal[name];
      if (value === undefined) continue;
      values[name] = value;
      where.push(`${name} = @${name}`);
    }
    const sql = `SELECT * FROM old_runs WHERE ${where.join(' AND ')} ORDER BY sequence DESC LIMIT @limit`;
    return this.#db.prepare<[typeof values], RunRow>(sql).all(values);
  }

  /**
   * Moves a run. Each step is short, but for the last, `finish`, all of whose writes must be in one transaction.
   * @param finish does the last step within a transaction
   */
  *move(id: string, tables: RunTables, finish: (write: () => void) => void): Generator<undefined, void> {
    const row = this.#sql.byId.get(id);
    if (!row) return;
    const request = row.ended_at === null ? this.#sql.request.get(id)?.bytes : undefined;
    const result = row.state === 'finished' ? this.#sql.result.get(id)?.bytes : undefined;
    const newRequest = request && (yield* this.#rewritten(request, (bytes) => encode(decodeOld(bytes)), this.#files.requests));
    const newResult = result && (yield* this.#rewritten(result, (bytes) => this.#encodeResult(id, bytes), this.#files.results));
    finish(() => {
      if (!this.has(id)) return; // it was asked for meanwhile
      this.#sql.insert.run(id);
      this.#sql.insertAttempts.run(row.sequence, id);
      if (newRequest) tables.addRequest(row.sequence, newRequest);
      if (newResult) tables.addResult(row.sequence, newResult);
      this.#totals.moved(undefined, row.state);
      for (const drop of this.#sql.drops) drop.run(id);
      this.#sql.drop.run(id);
    });
    while (this.#sql.dropPieces.run(id).changes > 0) yield;
  }

  /** Encodes a value anew. One that can't be read is kept as it is: the run tells so when it is asked for. */
  *#rewritten(bytes: Buffer, encoded: (bytes: Buffer) => Encoded, file: SegmentFile): Generator<undefined, Stored> {
    let made: Encoded;
    try {
      made = encoded(bytes);
    } catch {
      return { bytes, near: bytes.length };
    }
    const length = made.nearBytes + made.farBytes;
    if (length <= mostInRow || this.#db.memory) return { bytes: joined(made), near: made.nearBytes };
    const { place, add } = file.begin(length);
    for (const part of [...made.near, ...made.far]) {
      for (const piece of part instanceof Elsewhere ? part.read() : [part]) {
        add(piece);
        if (part instanceof Elsewhere) yield;
      }
    }
    return { ...place, near: made.nearBytes };
  }

  #encodeResult(id: string, bytes: Buffer): Encoded {
    const result = decodeOld(bytes) as OldResult;
    const files = result.changes.files.map((file) => ({
      ...file,
      content: Buffer.isBuffer(file.content) ? file.content : this.#elsewhere(id, file.content),
    }));
    return encode({ ...result, changes: { ...result.changes, files } }, farContents(files));
  }

  #elsewhere(id: string, { first, count, bytes, utf8 }: OldApart): Elsewhere {
    const { piece } = this.#sql;
    return new Elsewhere(bytes, utf8, function* () {
      for (let number = first; number < first + count; number += 1) yield piece.get(id, number)?.bytes ?? Buffer.alloc(0);
    });
  }

  /** Drops the tables, which are empty now. */
  drop(): void {
    for (const table of oldTables) this.#db.exec(`DROP TABLE ${table}`);
  }
}
