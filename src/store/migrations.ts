/** The SQL of each schema version: each entry upgrades from the version before. Existing entries are never changed. */
export const migrations: readonly string[] = [
  `
  CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
  CREATE TABLE runs (
    id TEXT PRIMARY KEY,
    sequence INTEGER NOT NULL UNIQUE,
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
  ) WITHOUT ROWID;
  CREATE UNIQUE INDEX runs_key ON runs (tenant, key) WHERE key IS NOT NULL;
  CREATE INDEX runs_open ON runs (sequence) WHERE ended_at IS NULL;
  CREATE INDEX runs_ended ON runs (ended_at) WHERE ended_at IS NOT NULL;
  CREATE INDEX runs_state ON runs (state, sequence);
  CREATE TABLE requests (run TEXT PRIMARY KEY REFERENCES runs (id) ON DELETE CASCADE, bytes BLOB NOT NULL);
  CREATE TABLE results (run TEXT PRIMARY KEY REFERENCES runs (id) ON DELETE CASCADE, bytes BLOB NOT NULL);
  CREATE TABLE attempts (
    run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
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
  CREATE TABLE image_uses (image TEXT PRIMARY KEY, used_at INTEGER NOT NULL) WITHOUT ROWID;
  CREATE TABLE events (id INTEGER PRIMARY KEY, at INTEGER NOT NULL, node TEXT NOT NULL, kind TEXT NOT NULL, detail TEXT NOT NULL);
  CREATE INDEX events_node ON events (node, id);
  CREATE INDEX events_at ON events (at);
  CREATE TABLE nodes (name TEXT PRIMARY KEY, cordoned INTEGER NOT NULL, draining INTEGER NOT NULL) WITHOUT ROWID;
  CREATE TABLE maintenance (job TEXT PRIMARY KEY, started_at INTEGER, ended_at INTEGER, outcome TEXT, detail TEXT) WITHOUT ROWID;
  `,
  // Large files of results, in pieces: SQLite bounds a value and copies it twice, so no whole result is one value.
  `
  CREATE TABLE pieces (run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE, number INTEGER NOT NULL, bytes BLOB NOT NULL);
  CREATE UNIQUE INDEX pieces_run ON pieces (run, number);
  `,
];
