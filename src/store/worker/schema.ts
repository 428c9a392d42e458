/** The SQL of each schema version: each entry upgrades from the version before. Existing entries are never changed. */
import { migrations as before } from '../migrations.ts';

/** The tables of release 0.1, which the migration empties in slices while the journal is in use. */
export const oldTables = ['old_pieces', 'old_results', 'old_requests', 'old_attempts', 'old_runs'] as const;

export const migrations: readonly string[] = [
  ...before,
  // Runs in the order of acceptance, records in the row or in a segment.
  `
  ALTER TABLE runs RENAME TO old_runs;
  ALTER TABLE requests RENAME TO old_requests;
  ALTER TABLE results RENAME TO old_results;
  ALTER TABLE pieces RENAME TO old_pieces;
  ALTER TABLE attempts RENAME TO old_attempts;
  CREATE TABLE runs (
    sequence INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    tenant TEXT NOT NULL,
    key TEXT,
    hash BLOB NOT NULL,
    image TEXT NOT NULL,
    placing TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'running', 'finished', 'failed', 'cancelled')),
    attempt INTEGER NOT NULL DEFAULT 0,
    accepted_at INTEGER NOT NULL,
    ended_at INTEGER,
    error TEXT
  );
  CREATE UNIQUE INDEX run_by_id ON runs (id);
  CREATE UNIQUE INDEX run_by_key ON runs (key, tenant) WHERE key IS NOT NULL;
  CREATE INDEX unended ON runs (sequence) WHERE ended_at IS NULL;
  CREATE INDEX ended ON runs (ended_at) WHERE ended_at IS NOT NULL;
  CREATE INDEX ended_state ON runs (state) WHERE ended_at IS NOT NULL;
  CREATE INDEX ended_tenant ON runs (tenant, state) WHERE ended_at IS NOT NULL;
  CREATE INDEX ended_image ON runs (image, state) WHERE ended_at IS NOT NULL;
  CREATE INDEX ended_tenant_image ON runs (tenant, image, state) WHERE ended_at IS NOT NULL;
  CREATE TABLE segments (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    live INTEGER NOT NULL,
    records INTEGER NOT NULL,
    sealed INTEGER NOT NULL
  );
  CREATE TABLE requests (run INTEGER PRIMARY KEY, bytes BLOB, segment INTEGER, at INTEGER, length INTEGER NOT NULL, near INTEGER NOT NULL);
  CREATE INDEX request_segment ON requests (segment) WHERE segment IS NOT NULL;
  CREATE TABLE results (run INTEGER PRIMARY KEY, bytes BLOB, segment INTEGER, at INTEGER, length INTEGER NOT NULL, near INTEGER NOT NULL);
  CREATE TABLE attempts (
    run INTEGER NOT NULL,
    number INTEGER NOT NULL,
    node TEXT NOT NULL,
    warm INTEGER,
    resumed INTEGER NOT NULL DEFAULT 0,
    started_at INTEGER NOT NULL,
    ended_at INTEGER,
    state TEXT NOT NULL CHECK (state IN ('running', 'accepted', 'lost', 'failed', 'cancelled')),
    reason TEXT,
    PRIMARY KEY (run, number)
  ) WITHOUT ROWID;
  ALTER TABLE nodes ADD COLUMN machine TEXT;
  CREATE TABLE totals (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
  `,
];
