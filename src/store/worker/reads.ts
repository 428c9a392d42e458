import { diedInIt, notCounted, stoppedInIt } from '../../model/attempt-reason.ts';
import type { AttemptRecord, RunState } from '../../model/record.ts';
import type { MaintenanceRecord, NodeSetting } from '../../model/run-store.ts';
import type { NodeEvent } from '../../model/node.ts';
import type { ReadAnswers, RunRow, Stored, UnendedRow } from '../commands.ts';
import type { Db } from './open.ts';
import type { RecordRow } from './runs.ts';

interface AttemptRow {
  number: number;
  node: string;
  warm: number | null;
  resumed: number;
  started_at: number;
  ended_at: number | null;
  state: AttemptRecord['state'];
  reason: string | null;
}

/**
 * The columns of an unended run, with the numbers of its attempts.
 * @param key the column of the run that its attempts name
 */
export const unendedColumns = (runs: string, attempts: string, key: string): string => `${runs}.*,
  (SELECT count(*) FROM ${attempts} WHERE run = ${runs}.${key}) AS begun,
  (SELECT count(*) FROM ${attempts} WHERE run = ${runs}.${key} AND reason = '${diedInIt}') AS abandoned,
  (SELECT count(*) FROM ${attempts} WHERE run = ${runs}.${key} AND (reason = '${stoppedInIt}' OR reason GLOB '${notCounted}*')) AS stopped`;

/** Reads runs and what is kept beside them. */
export class Reads {
  readonly #sql;
  readonly #segmentName: (id: number) => string;

  constructor(db: Db, segmentName: (id: number) => string) {
    this.#segmentName = segmentName;
    this.#sql = {
      byId: db.prepare<[string], RunRow>('SELECT * FROM runs WHERE id = ?'),
      attempts: db.prepare<[number], AttemptRow>('SELECT * FROM attempts WHERE run = ? ORDER BY number'),
      result: db.prepare<[number], RecordRow>('SELECT bytes, segment, at, length, near FROM results WHERE run = ?'),
      request: db.prepare<[string], RecordRow>(
        'SELECT bytes, segment, at, length, near FROM requests WHERE run = (SELECT sequence FROM runs WHERE id = ?)',
      ),
      resultSize: db.prepare<[string], { length: number; near: number }>(
        'SELECT length, near FROM results WHERE run = (SELECT sequence FROM runs WHERE id = ?)',
      ),
      unfinished: db.prepare<[number, number], UnendedRow>(
        `SELECT ${unendedColumns('runs', 'attempts', 'sequence')},
          coalesce((SELECT length FROM requests WHERE run = runs.sequence), 0) AS bytes
          FROM runs INDEXED BY unended WHERE ended_at IS NULL AND sequence > ? ORDER BY sequence LIMIT ?`,
      ),
      uses: db.prepare<[], { image: string; used_at: number }>('SELECT image, used_at FROM image_uses'),
      events: db.prepare<[number], NodeEvent>('SELECT at, node, kind, detail FROM events ORDER BY id DESC LIMIT ?'),
      nodeEvents: db.prepare<[string, number], NodeEvent>(
        'SELECT at, node, kind, detail FROM events WHERE node = ? ORDER BY id DESC LIMIT ?',
      ),
      nodes: db.prepare<[], { name: string; cordoned: number; draining: number; machine: string | null }>('SELECT * FROM nodes'),
      job: db.prepare<
        [string],
        { started_at: number | null; ended_at: number | null; outcome: MaintenanceRecord['outcome'] | null; detail: string | null }
      >('SELECT * FROM maintenance WHERE job = ?'),
    };
  }

  #stored({ bytes, segment, at, length, near }: RecordRow): Stored {
    return bytes === null ? { segment: this.#segmentName(segment ?? 0), at: at ?? 0, length, near } : { bytes, near };
  }

  look(id: string): ReadAnswers['look'] {
    const run = this.#sql.byId.get(id);
    if (!run) return undefined;
    const result = run.state === 'finished' ? this.#sql.result.get(run.sequence) : undefined;
    return { run, attempts: this.#sql.attempts.all(run.sequence).map(attemptOf), result: result && this.#stored(result) };
  }

  summary(id: string): RunRow | undefined {
    return this.#sql.byId.get(id);
  }

  request(id: string): Stored | undefined {
    const row = this.#sql.request.get(id);
    return row && this.#stored(row);
  }

  resultSize(id: string): ReadAnswers['resultSize'] {
    const row = this.#sql.resultSize.get(id);
    return row && { near: row.near, far: row.length - row.near };
  }

  unfinished(after: number, limit: number): UnendedRow[] {
    return this.#sql.unfinished.all(after, limit);
  }

  imageUses(): ReadAnswers['imageUses'] {
    return this.#sql.uses.all().map(({ image, used_at }) => [image, used_at]);
  }

  events(node: string | undefined, limit: number): NodeEvent[] {
    return node === undefined ? this.#sql.events.all(limit) : this.#sql.nodeEvents.all(node, limit);
  }

  nodes(): NodeSetting[] {
    return this.#sql.nodes.all().map(({ name, cordoned, draining, machine }) => ({
      name,
      cordoned: cordoned === 1,
      draining: draining === 1,
      ...(machine === null ? {} : { machine }),
    }));
  }

  maintenance(job: string): MaintenanceRecord | undefined {
    const row = this.#sql.job.get(job);
    if (!row) return undefined;
    const { started_at, ended_at, outcome, detail } = row;
    return {
      startedAt: started_at ?? undefined,
      endedAt: ended_at ?? undefined,
      outcome: outcome ?? undefined,
      detail: detail ?? undefined,
    };
  }
}

const attemptOf = ({ number, node, warm, resumed, started_at, ended_at, state, reason }: AttemptRow): AttemptRecord => ({
  number,
  node,
  warm: warm === null ? undefined : warm === 1,
  resumed: resumed === 1,
  startedAt: started_at,
  endedAt: ended_at ?? undefined,
  state,
  reason: reason ?? undefined,
});

/** Adds counts of the runs of an older journal to those of the others. */
export function added(counts: Record<RunState, number>, more: Iterable<{ state: RunState; count: number }>): Record<RunState, number> {
  const sums = { ...counts };
  for (const { state, count } of more) sums[state] += count;
  return sums;
}
