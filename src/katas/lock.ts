import Database from 'better-sqlite3';
import { setTimeout as sleep } from 'node:timers/promises';
import { KatafleetError, messageOf } from '../model/errors.ts';

/** How often another process's lock is looked at again, ms. */
const lookMs = 50;

/**
 * One process at a time writes to an avatar's repository. The lock is SQLite's on an empty database: the kernel's own, so
 * that it ends with its process however that ends, and Node has no other. Node's own locks are none: within a process the
 * avatar's queue sees to order.
 */
export class Lock {
  readonly #db: Database.Database;

  private constructor(db: Database.Database) {
    this.#db = db;
  }

  /** @param waitMs how long another process may have it, ms. @throws kata.busy, kata.storage */
  static async acquire(file: string, waitMs: number, signal?: AbortSignal): Promise<Lock> {
    const until = performance.now() + waitMs;
    for (;;) {
      const lock = Lock.try(file);
      if (lock) return lock;
      if (performance.now() >= until)
        throw new KatafleetError('kata.busy', `another katafleet works on this avatar (${file})`, {
          hint: 'try again when its test has ended',
        });
      await sleep(lookMs, undefined, signal ? { signal } : {});
    }
  }

  /** Undefined where another process has it. @throws kata.storage */
  static try(file: string): Lock | undefined {
    let db: Database.Database | undefined;
    try {
      db = new Database(file, { timeout: 0 });
      db.exec('BEGIN EXCLUSIVE');
      return new Lock(db);
    } catch (cause) {
      db?.close();
      const { code = '' } = cause as { code?: string };
      if (code.startsWith('SQLITE_BUSY')) return undefined;
      throw new KatafleetError('kata.storage', `the lock ${file} can't be had: ${messageOf(cause)}`, { cause });
    }
  }

  release(): void {
    this.#db.close();
  }
}
