import type { RunState } from '../../model/record.ts';
import type { Db } from './open.ts';
import type { RunTables } from './runs.ts';

/** How long one step of a job may hold up commands (ms), and how many rows it takes at once. */
const [stepMs, rowsAtOnce] = [3, 20];
/** Pages that are given back to the file system in one step. */
const pagesAtOnce = 64;

export interface Steps {
  /** Does a step's writes in one transaction. */
  transaction: (write: () => void) => void;
}

/** Removes what is older than it is kept, in steps, so that commands in between wait for milliseconds only. */
export class Retention {
  readonly #sql;
  readonly #tables: RunTables;
  readonly #db: Db;

  constructor(db: Db, tables: RunTables) {
    this.#db = db;
    this.#tables = tables;
    this.#sql = {
      oldest: db.prepare<[number, number], { sequence: number; state: RunState }>(
        'SELECT sequence, state FROM runs INDEXED BY ended WHERE ended_at IS NOT NULL AND ended_at < ? ORDER BY ended_at LIMIT ?',
      ),
      oldestResult: db.prepare<[number], { sequence: number; state: RunState }>(
        `SELECT sequence, state FROM runs INDEXED BY ended WHERE ended_at IS NOT NULL ORDER BY ended_at LIMIT ?`,
      ),
    };
  }

  /** Removes runs that ended before a time. Returns their number. */
  *before(time: number, { transaction }: Steps): Generator<undefined, number> {
    let gone = 0;
    for (let more = true; more;) {
      transaction(() => {
        const until = performance.now() + stepMs;
        do {
          const runs = this.#sql.oldest.all(time, rowsAtOnce);
          for (const run of runs) this.#tables.forget(run);
          gone += runs.length;
          more = runs.length === rowsAtOnce;
        } while (more && performance.now() < until);
      });
      yield;
    }
    return gone;
  }

  /**
   * Removes the oldest runs while `over` says so, but never the newest that ended: what was just told stays for a while.
   * Returns their number.
   */
  *whileOver(over: () => boolean, { transaction }: Steps): Generator<undefined, number> {
    let gone = 0;
    for (let more = true; more && over();) {
      transaction(() => {
        const until = performance.now() + stepMs;
        while (more && over() && performance.now() < until) {
          const [oldest, next] = this.#sql.oldestResult.all(2);
          more = next !== undefined;
          if (!oldest || !next) return;
          this.#tables.forget(oldest);
          gone += 1;
        }
      });
      yield;
    }
    return gone;
  }

  /** Gives free pages of the database back to the file system. */
  *vacuum(): Generator<undefined, void> {
    const free = () => Number(this.#db.pragma('freelist_count', { simple: true }));
    for (let left = free(), before = Infinity; left > 0 && left < before; before = left, left = free()) {
      this.#db.pragma(`incremental_vacuum(${pagesAtOnce})`);
      yield;
    }
  }
}
