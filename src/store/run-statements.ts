import { MiB } from '../base/units.ts';
import { diedInIt, notCounted, stoppedInIt } from '../model/attempt-reason.ts';
import type { RunState } from '../model/record.ts';
import type { Db } from './database.ts';
import type { AttemptRow, RunRow } from './run-rows.ts';

/** Memory for a result as JSON, as a multiple of its size: its bytes twice, base64, the text twice, bytes again. */
const asJson = 8;
/** Bytes of a result's pieces that are in memory at once while they are sent to a client. */
const onTheirWay = 4 * MiB;

/**
 * Prepares the journal's statements on runs, attempts, requests and results.
 * @internal the types of better-sqlite3 that it returns have no name that a declaration file could use
 */
export function statements(db: Db) {
  return {
    insert: db.prepare(
      "INSERT INTO runs (id, sequence, tenant, key, hash, image, placing, state, accepted_at) VALUES (?, ?, ?, ?, ?, ?, ?, 'waiting', ?)",
    ),
    insertRequest: db.prepare('INSERT INTO requests (run, bytes) VALUES (?, ?)'),
    used: db.prepare('INSERT INTO image_uses (image, used_at) VALUES (?, ?) ON CONFLICT DO UPDATE SET used_at = excluded.used_at'),
    uses: db.prepare<[], { image: string; used_at: number }>('SELECT image, used_at FROM image_uses'),
    byKey: db.prepare<[string, string], { id: string; hash: Buffer }>('SELECT id, hash FROM runs WHERE tenant = ? AND key = ?'),
    begin: db.prepare("UPDATE runs SET state = 'running', attempt = ? WHERE id = ? AND ended_at IS NULL AND attempt < ?"),
    insertAttempt: db.prepare(
      "INSERT INTO attempts (run, number, node, warm, resumed, started_at, state) VALUES (?, ?, ?, ?, ?, ?, 'running')",
    ),
    endAttempt: db.prepare("UPDATE attempts SET state = ?, reason = ?, ended_at = ? WHERE run = ? AND number = ? AND state = 'running'"),
    endAttempts: db.prepare("UPDATE attempts SET state = ?, reason = ?, ended_at = ? WHERE run = ? AND state = 'running'"),
    lost: db.prepare("UPDATE runs SET state = 'waiting' WHERE id = ? AND ended_at IS NULL AND state = 'running' AND attempt = ?"),
    // Only one katafleet uses a journal: an attempt that was under way when it is opened has ended.
    orphanAttempts: db.prepare(
      `UPDATE attempts SET state = 'lost', reason = '${diedInIt}', ended_at = ?
        WHERE state = 'running' AND run IN (SELECT id FROM runs WHERE ended_at IS NULL)`,
    ),
    orphanRuns: db.prepare("UPDATE runs SET state = 'waiting' WHERE ended_at IS NULL AND state = 'running'"),
    finish: db.prepare(
      "UPDATE runs SET state = 'finished', ended_at = ? WHERE id = ? AND ended_at IS NULL AND state = 'running' AND attempt = ?",
    ),
    insertPiece: db.prepare('INSERT INTO pieces (run, number, bytes) VALUES (?, ?, ?)'),
    piece: db.prepare<[string, number], { bytes: Buffer }>('SELECT bytes FROM pieces WHERE run = ? AND number = ?'),
    insertResult: db.prepare('INSERT INTO results (run, bytes) VALUES (?, ?)'),
    dropRequest: db.prepare('DELETE FROM requests WHERE run = ?'),
    fail: db.prepare(
      'UPDATE runs SET state = @state, error = @error, ended_at = @at WHERE id = @id AND ended_at IS NULL AND (@attempt IS NULL OR attempt = @attempt)',
    ),
    byId: db.prepare<[string], RunRow>('SELECT * FROM runs WHERE id = ?'),
    result: db.prepare<[string], { bytes: Buffer }>('SELECT bytes FROM results WHERE run = ?'),
    request: db.prepare<[string], { bytes: Buffer }>('SELECT bytes FROM requests WHERE run = ?'),
    attempts: db.prepare<[string], AttemptRow>('SELECT * FROM attempts WHERE run = ? ORDER BY number'),
    list: db.prepare<[{ limit: number; state: string | null; tenant: string | null }], RunRow>(
      'SELECT * FROM runs WHERE (@state IS NULL OR state = @state) AND (@tenant IS NULL OR tenant = @tenant) ORDER BY sequence DESC LIMIT @limit',
    ),
    open: db.prepare<[], RunRow & { abandoned: number; stopped: number; begun: number; bytes: number }>(
      `SELECT *, coalesce((SELECT length(bytes) FROM requests WHERE run = runs.id), 0) AS bytes,
        (SELECT count(*) FROM attempts WHERE run = runs.id) AS begun,
        (SELECT count(*) FROM attempts WHERE run = runs.id AND reason = '${diedInIt}') AS abandoned,
        (SELECT count(*) FROM attempts WHERE run = runs.id AND (reason = '${stoppedInIt}' OR reason GLOB '${notCounted}*')) AS stopped
        FROM runs WHERE ended_at IS NULL ORDER BY sequence`,
    ),
    counts: db.prepare<[], { state: RunState; count: number }>('SELECT state, count(*) AS count FROM runs GROUP BY state'),
    allResultBytes: db.prepare<[], { bytes: number }>(
      'SELECT (SELECT coalesce(sum(length(bytes)), 0) FROM results) + (SELECT coalesce(sum(length(bytes)), 0) FROM pieces) AS bytes',
    ),
    resultBytes: db.prepare<[string], { bytes: number }>(
      `SELECT ${asJson} * length(bytes) + min(${onTheirWay}, coalesce((SELECT sum(length(bytes)) FROM pieces WHERE run = results.run), 0)) AS bytes
        FROM results WHERE run = ?`,
    ),
    oldestResults: db.prepare<[string, number], { run: string; bytes: number }>(
      `SELECT run, length(bytes) + coalesce((SELECT sum(length(bytes)) FROM pieces WHERE run = runs.id), 0) AS bytes
        FROM runs JOIN results ON run = runs.id
        WHERE ended_at IS NOT NULL AND runs.id <> ? ORDER BY ended_at LIMIT ?`,
    ),
    forget: db.prepare('DELETE FROM runs WHERE id = ?'),
    pruneRuns: db.prepare('DELETE FROM runs WHERE id IN (SELECT id FROM runs WHERE ended_at IS NOT NULL AND ended_at < ? LIMIT ?)'),
  };
}
