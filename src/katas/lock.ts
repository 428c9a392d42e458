import Database from 'better-sqlite3';
import { setTimeout as sleep } from 'node:timers/promises';
import { KatafleetError, messageOf } from '../model/errors.ts';

/** How often another process's lock is checked (ms). */
const lookMs = 50;

/**
 * A lock that lets one process at a time write to an avatar's repository. It is SQLite's lock on an empty database. The kernel releases
 * it when the process ends in any way, and Node offers no other lock of this kind. Within a process, the avatar's queue keeps the
 * order.
 */
export class Lock {
  readonly #db: Database.Database;

  private constructor(db: Database.Database) {
    this.#db = db;
  }

  /** Waits for the lock. @param waitMs how long another process may keep it (ms) @throws kata.busy, kata.storage */
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

  /** Takes the lock; returns undefined if another process has it. @throws kata.storage */
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
