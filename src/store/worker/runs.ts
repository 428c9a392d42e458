import { diedInIt } from '../../model/attempt-reason.ts';
import { KatafleetError } from '../../model/errors.ts';
import { canonicalImage } from '../../model/image-name.ts';
import type { RunState } from '../../model/record.ts';
import type { RunWrite, Stored, WriteAnswers } from '../commands.ts';
import { isSameRequest } from '../same-request.ts';
import type { Db } from './open.ts';
import type { Totals } from './totals.ts';

/** The part of a run's row by which writes decide. */
interface RunNow {
  sequence: number;
  state: RunState;
  attempt: number;
  ended_at: number | null;
  error: string | null;
}

/** A record's row: its bytes, or its place. */
export interface RecordRow {
  bytes: Buffer | null;
  segment: number | null;
  at: number | null;
  length: number;
  near: number;
}

type Of<D extends RunWrite['do']> = Extract<RunWrite, { do: D }>;

/** Writes runs. Each write is done within a transaction, and done again it changes nothing and answers the same. */
export class RunTables {
  readonly #sql;
  readonly #totals: Totals;
  readonly #moveOld: (id: string) => void;
  #sequence: number;

  /** @param moveOld brings a run of an older journal into these tables, if it is still there */
  constructor(db: Db, totals: Totals, moveOld: { byId: (id: string) => void; byKey: (tenant: string, key: string) => void; last: number }) {
    this.#totals = totals;
    this.#moveOld = moveOld.byId;
    this.#moveOldByKey = moveOld.byKey;
    this.#sql = {
      insert: db.prepare(
        "INSERT INTO runs (sequence, id, tenant, key, hash, image, placing, state, accepted_at) VALUES (?, ?, ?, ?, ?, ?, ?, 'waiting', ?)",
      ),
      insertRequest: db.prepare('INSERT INTO requests (run, bytes, segment, at, length, near) VALUES (?, ?, ?, ?, ?, ?)'),
      insertResult: db.prepare('INSERT INTO results (run, bytes, segment, at, length, near) VALUES (?, ?, ?, ?, ?, ?)'),
      byId: db.prepare<[string], RunNow>('SELECT sequence, state, attempt, ended_at, error FROM runs WHERE id = ?'),
      byKey: db.prepare<[string, string], { id: string; hash: Buffer }>('SELECT id, hash FROM runs WHERE key = ? AND tenant = ?'),
      begin: db.prepare("UPDATE runs SET state = 'running', attempt = ? WHERE sequence = ?"),
      insertAttempt: db.prepare(
        "INSERT INTO attempts (run, number, node, warm, resumed, started_at, state) VALUES (?, ?, ?, ?, ?, ?, 'running')",
      ),
      attempt: db.prepare<
        [number, number],
        { node: string; started_at: number; ended_at: number | null; state: string; reason: string | null }
      >('SELECT node, started_at, ended_at, state, reason FROM attempts WHERE run = ? AND number = ?'),
      endAttempt: db.prepare("UPDATE attempts SET state = ?, reason = ?, ended_at = ? WHERE run = ? AND number = ? AND state = 'running'"),
      endAttempts: db.prepare("UPDATE attempts SET state = ?, reason = ?, ended_at = ? WHERE run = ? AND state = 'running'"),
      wait: db.prepare("UPDATE runs SET state = 'waiting' WHERE sequence = ?"),
      end: db.prepare('UPDATE runs SET state = ?, error = ?, ended_at = ? WHERE sequence = ?'),
      request: db.prepare<[number], Pick<RecordRow, 'segment' | 'length'>>('SELECT segment, length FROM requests WHERE run = ?'),
      result: db.prepare<[number], Pick<RecordRow, 'segment' | 'length'>>('SELECT segment, length FROM results WHERE run = ?'),
      dropRequest: db.prepare('DELETE FROM requests WHERE run = ?'),
      dropResult: db.prepare('DELETE FROM results WHERE run = ?'),
      dropAttempts: db.prepare('DELETE FROM attempts WHERE run = ?'),
      drop: db.prepare('DELETE FROM runs WHERE sequence = ?'),
      // Only one katafleet uses a journal: an attempt that was under way when it is opened has ended.
      orphanAttempts: db.prepare(
        `UPDATE attempts SET state = 'lost', reason = '${diedInIt}', ended_at = ?
          WHERE state = 'running' AND run IN (SELECT sequence FROM runs INDEXED BY unended WHERE ended_at IS NULL)`,
      ),
      running: db.prepare<[], { count: number }>(
        "SELECT count(*) AS count FROM runs INDEXED BY unended WHERE ended_at IS NULL AND state = 'running'",
      ),
      // One attempt may have begun that the journal does not know: its number is left out.
      orphanRuns: db.prepare("UPDATE runs INDEXED BY unended SET state = 'waiting', attempt = attempt + 1 WHERE ended_at IS NULL"),
      last: db.prepare<[], { last: number | null }>('SELECT max(sequence) AS last FROM runs'),
    };
    this.#sequence = Math.max(this.#sql.last.get()?.last ?? 0, moveOld.last);
  }

  readonly #moveOldByKey: (tenant: string, key: string) => void;

  /** Ends the attempts of the katafleet before, and makes its runs wait. */
  adopt(now: number): void {
    this.#sql.orphanAttempts.run(now);
    for (let left = this.#sql.running.get()?.count ?? 0; left > 0; left -= 1) this.#totals.moved('running', 'waiting');
    this.#sql.orphanRuns.run();
  }

  #of(id: string): RunNow | undefined {
    const row = this.#sql.byId.get(id);
    if (row) return row;
    this.#moveOld(id);
    return this.#sql.byId.get(id);
  }

  byKey(tenant: string, key: string): { id: string; hash: Buffer } | undefined {
    const row = this.#sql.byKey.get(key, tenant);
    if (row) return row;
    this.#moveOldByKey(tenant, key);
    return this.#sql.byKey.get(key, tenant);
  }

  accept({ id, tenant, key, hash, image, placing, at, request }: Of<'accept'>): WriteAnswers['accept'] {
    if (this.#of(id)) return { id, known: false };
    const there = key === undefined ? undefined : this.byKey(tenant, key);
    if (there) return isSameRequest(there.hash, hash) ? { id: there.id, known: true } : { conflict: there.id };
    this.#sequence += 1;
    this.#sql.insert.run(this.#sequence, id, tenant, key ?? null, hash, image, placing, at);
    this.addRequest(this.#sequence, request);
    this.#totals.moved(undefined, 'waiting');
    this.#totals.used(canonicalImage(image), at);
    return { id, known: false };
  }

  addRequest(run: number, request: Stored): void {
    this.#sql.insertRequest.run(run, ...this.#record(request));
  }

  addResult(run: number, result: Stored): void {
    this.#sql.insertResult.run(run, ...this.#record(result));
    if ('bytes' in result) this.#totals.inRows(result.bytes.length);
  }

  #record(stored: Stored): [Uint8Array | null, number | null, number | null, number, number] {
    if ('bytes' in stored) return [stored.bytes, null, null, stored.bytes.length, stored.near];
    const segment = this.#totals.segment(stored.segment);
    this.#totals.recordAdded(segment, stored);
    return [null, segment.id, stored.at, stored.length, stored.near];
  }

  withdraw({ id }: Of<'withdraw'>): void {
    const run = this.#of(id);
    if (run?.state === 'waiting') this.forget(run);
  }

  begin({ id, attempt, node, warm, resumed, at }: Of<'begin'>): void {
    const run = this.#of(id);
    if (run?.state === 'running' && run.attempt === attempt) {
      const known = this.#sql.attempt.get(run.sequence, attempt);
      if (known?.node === node && known.started_at === at) return;
    }
    if (!run || run.ended_at !== null || attempt <= run.attempt)
      throw new KatafleetError('internal', `attempt ${attempt} of the run ${id} can't begin: the run is over, or a newer attempt exists`);
    this.#sql.begin.run(attempt, run.sequence);
    this.#totals.moved(run.state, 'running');
    this.#sql.insertAttempt.run(run.sequence, attempt, node, warm === undefined ? null : Number(warm), Number(resumed ?? false), at);
  }

  lost({ id, attempt, reason, at }: Of<'lost'>): boolean {
    const run = this.#of(id);
    if (!run || run.ended_at !== null || run.attempt !== attempt) return false;
    if (run.state !== 'running') {
      const known = this.#sql.attempt.get(run.sequence, attempt);
      return known?.state === 'lost' && known.ended_at === at && known.reason === reason;
    }
    this.#sql.endAttempt.run('lost', reason, at, run.sequence, attempt);
    this.#sql.wait.run(run.sequence);
    this.#totals.moved('running', 'waiting');
    return true;
  }

  finish({ id, attempt, result, at }: Of<'finish'>): boolean {
    const run = this.#of(id);
    if (!run || run.attempt !== attempt) return false;
    if (run.state !== 'running') return run.state === 'finished' && run.ended_at === at;
    this.addResult(run.sequence, result);
    this.#sql.endAttempt.run('accepted', null, at, run.sequence, attempt);
    this.#end(run, 'finished', null, at);
    return true;
  }

  fail({ id, attempt, error, message, at }: Of<'fail'>): boolean {
    const run = this.#of(id);
    if (!run || (attempt !== undefined && run.attempt !== attempt)) return false;
    if (run.ended_at !== null) return run.state === 'failed' && run.ended_at === at && run.error === error;
    this.#sql.endAttempts.run('failed', message, at, run.sequence);
    this.#end(run, 'failed', error, at);
    return true;
  }

  cancel({ id, at }: Of<'cancel'>): boolean {
    const run = this.#of(id);
    if (!run) return false;
    if (run.ended_at !== null) return run.state === 'cancelled' && run.ended_at === at;
    this.#sql.endAttempts.run('cancelled', null, at, run.sequence);
    this.#end(run, 'cancelled', null, at);
    return true;
  }

  #end(run: RunNow, state: 'finished' | 'failed' | 'cancelled', error: string | null, at: number): void {
    this.#sql.end.run(state, error, at, run.sequence);
    this.#totals.moved(run.state, state);
    this.#dropRequest(run.sequence);
  }

  #dropRequest(run: number): void {
    const request = this.#sql.request.get(run);
    if (!request) return;
    if (request.segment !== null) this.#totals.recordGone(request.segment, request.length);
    this.#sql.dropRequest.run(run);
  }

  /** Removes a run with all that belongs to it. */
  forget({ sequence, state }: Pick<RunNow, 'sequence' | 'state'>): void {
    this.#dropRequest(sequence);
    const result = this.#sql.result.get(sequence);
    if (result) {
      if (result.segment === null) this.#totals.inRows(-result.length);
      else this.#totals.recordGone(result.segment, result.length);
      this.#sql.dropResult.run(sequence);
    }
    this.#sql.dropAttempts.run(sequence);
    this.#sql.drop.run(sequence);
    this.#totals.moved(state, undefined);
  }
}
