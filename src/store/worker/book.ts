import type { BookWrite } from '../commands.ts';
import type { Db } from './open.ts';

/** Writes node events, users' decisions about nodes, and maintenance. */
export class Book {
  readonly #sql;

  constructor(db: Db) {
    this.#sql = {
      event: db.prepare('INSERT INTO events (at, node, kind, detail) VALUES (?, ?, ?, ?)'),
      prune: db.prepare('DELETE FROM events WHERE id IN (SELECT id FROM events WHERE at < ? LIMIT ?)'),
      setNode: db.prepare(
        'INSERT INTO nodes (name, cordoned, draining, machine) VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET cordoned = excluded.cordoned, draining = excluded.draining, machine = excluded.machine',
      ),
      started: db.prepare(
        "INSERT INTO maintenance (job, started_at, outcome) VALUES (?, ?, 'running') ON CONFLICT DO UPDATE SET started_at = excluded.started_at, ended_at = NULL, outcome = 'running', detail = NULL",
      ),
      ended: db.prepare('UPDATE maintenance SET ended_at = ?, outcome = ?, detail = ? WHERE job = ?'),
    };
  }

  write(write: BookWrite): void {
    switch (write.do) {
      case 'event':
        this.#sql.event.run(write.at, write.node, write.kind, write.detail.slice(0, 2_000));
        return;
      case 'setNode':
        this.#sql.setNode.run(write.name, Number(write.cordoned), Number(write.draining), write.machine ?? null);
        return;
      case 'maintenanceStarted':
        this.#sql.started.run(write.job, write.at);
        return;
      case 'maintenanceEnded':
        this.#sql.ended.run(write.at, write.ok ? 'done' : 'failed', write.detail.slice(0, 4_000), write.job);
    }
  }

  /** Removes events of before a time, at most `most`. Returns how many it removed. */
  prune(before: number, most: number): number {
    return this.#sql.prune.run(before, most).changes;
  }
}
