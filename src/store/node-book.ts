import type { NodeEvent } from '../model/node.ts';
import type { MaintenanceRecord } from '../model/run-store.ts';
import type { Db } from './database.ts';

/** The journal's tables of node events, users' decisions about nodes, and maintenance. Times are Unix ms. */
export class NodeBook {
  readonly #sql;

  protected constructor(db: Db) {
    this.#sql = {
      event: db.prepare('INSERT INTO events (at, node, kind, detail) VALUES (?, ?, ?, ?)'),
      events: db.prepare<[{ node: string | null; limit: number }], NodeEvent>(
        'SELECT at, node, kind, detail FROM events WHERE (@node IS NULL OR node = @node) ORDER BY id DESC LIMIT @limit',
      ),
      prune: db.prepare('DELETE FROM events WHERE at < ?'),
      setNode: db.prepare(
        'INSERT INTO nodes (name, cordoned, draining) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET cordoned = excluded.cordoned, draining = excluded.draining',
      ),
      nodes: db.prepare<[], { name: string; cordoned: number; draining: number }>('SELECT * FROM nodes'),
      started: db.prepare(
        "INSERT INTO maintenance (job, started_at, outcome) VALUES (?, ?, 'running') ON CONFLICT DO UPDATE SET started_at = excluded.started_at, ended_at = NULL, outcome = 'running', detail = NULL",
      ),
      ended: db.prepare('UPDATE maintenance SET ended_at = ?, outcome = ?, detail = ? WHERE job = ?'),
      job: db.prepare<
        [string],
        { started_at: number | null; ended_at: number | null; outcome: MaintenanceRecord['outcome'] | null; detail: string | null }
      >('SELECT * FROM maintenance WHERE job = ?'),
    };
  }

  event(node: string, kind: string, detail: string, at: number): void {
    this.#sql.event.run(at, node, kind, detail.slice(0, 2_000));
  }

  /** Lists events, newest first. */
  events({ node, limit }: { node?: string; limit: number }): NodeEvent[] {
    return this.#sql.events.all({ node: node ?? null, limit });
  }

  protected pruneEvents(before: number): number {
    return this.#sql.prune.run(before).changes;
  }

  /** Returns the decisions about every node that has had one. */
  nodeSettings(): { name: string; cordoned: boolean; draining: boolean }[] {
    return this.#sql.nodes.all().map(({ name, cordoned, draining }) => ({ name, cordoned: cordoned === 1, draining: draining === 1 }));
  }

  setNodeSetting(name: string, { cordoned, draining }: { cordoned: boolean; draining: boolean }): void {
    this.#sql.setNode.run(name, Number(cordoned), Number(draining));
  }

  maintenanceStarted(job: string, at: number): void {
    this.#sql.started.run(job, at);
  }

  maintenanceEnded(job: string, at: number, ok: boolean, detail: string): void {
    this.#sql.ended.run(at, ok ? 'done' : 'failed', detail.slice(0, 4_000), job);
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
