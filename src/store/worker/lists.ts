import type { RunState } from '../../model/record.ts';
import type { RunList } from '../../model/run-store.ts';
import type { RunRow } from '../commands.ts';
import type { Db } from './open.ts';

const columns = 'sequence, id, tenant, key, image, placing, state, accepted_at, ended_at, error';
const endedStates: readonly RunState[] = ['finished', 'failed', 'cancelled'];
type Values = Record<string, string | number>;

/** Lists runs by any filter, newest first. No list looks at more rows than it returns, but for the runs that have not ended. */
export class RunLists {
  readonly #db: Db;
  /** By their SQL: there are as many as kinds of filters. */
  readonly #statements = new Map<string, (values: Values) => RunRow[]>();
  readonly #bounds;

  constructor(db: Db) {
    this.#db = db;
    this.#bounds = {
      first: db.prepare<[], { sequence: number | null }>('SELECT min(sequence) AS sequence FROM runs'),
      last: db.prepare<[], { sequence: number | null }>('SELECT max(sequence) AS sequence FROM runs'),
      from: db.prepare<[number], { sequence: number; accepted_at: number }>(
        'SELECT sequence, accepted_at FROM runs WHERE sequence >= ? ORDER BY sequence LIMIT 1',
      ),
    };
  }

  list(of: RunList): RunRow[] {
    const { limit, state, tenant, image, key } = of;
    // Times grow with the order of acceptance, but for steps of the clock: they become bounds of that order.
    const after = Math.max(of.after ?? 0, of.since === undefined ? 0 : this.#firstFrom(of.since) - 1);
    const before = Math.min(
      of.before ?? Number.MAX_SAFE_INTEGER,
      of.until === undefined ? Number.MAX_SAFE_INTEGER : this.#firstFrom(of.until),
    );
    const values: Values = { limit, after, before };
    const where: string[] = [];
    for (const [name, value] of Object.entries({ tenant, image, key })) {
      if (value === undefined) continue;
      values[name] = value;
      where.push(`${name} = @${name}`);
    }
    const run = (index: string, ...more: string[]) => this.#rows(index, [...more, ...where], values);
    if (key !== undefined) return run('INDEXED BY run_by_key', ...(state === undefined ? [] : [`state = '${state}'`]));
    if (state === undefined && where.length === 0) return run('');
    const ended = `INDEXED BY ended_${[tenant === undefined ? [] : ['tenant'], image === undefined ? [] : ['image']].flat().join('_') || 'state'}`;
    const states = state === undefined ? endedStates : endedStates.filter((each) => each === state);
    const open = state === undefined || states.length === 0;
    return newest(limit, [
      ...(open ? [run('INDEXED BY unended', 'ended_at IS NULL', ...(state === undefined ? [] : [`state = '${state}'`]))] : []),
      ...states.map((each) => run(ended, 'ended_at IS NOT NULL', `state = '${each}'`)),
    ]);
  }

  #rows(index: string, where: string[], values: Values): RunRow[] {
    const conditions = ['sequence < @before', 'sequence > @after', ...where].join(' AND ');
    const sql = `SELECT ${columns} FROM runs ${index} WHERE ${conditions} ORDER BY sequence DESC LIMIT @limit`;
    let statement = this.#statements.get(sql);
    if (!statement) {
      const prepared = this.#db.prepare<[Values], RunRow>(sql);
      statement = (of) => prepared.all(of);
      this.#statements.set(sql, statement);
    }
    return statement(values);
  }

  /** Returns the place in the order of the first run that was accepted at a time or later. */
  #firstFrom(time: number): number {
    let low = this.#bounds.first.get()?.sequence ?? 1;
    let high = (this.#bounds.last.get()?.sequence ?? 0) + 1;
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      const row = this.#bounds.from.get(middle);
      if (!row || row.accepted_at >= time) high = middle;
      else low = row.sequence + 1;
    }
    return low;
  }
}

/** Merges lists that are in order themselves. */
export function newest(limit: number, lists: RunRow[][]): RunRow[] {
  const [only] = lists;
  if (only && lists.length === 1) return only;
  return lists
    .flat()
    .sort((a, b) => b.sequence - a.sequence)
    .slice(0, limit);
}
