// Breaks katafleet's promise once: undoes a commit that has stored new runs, a moment after it was acknowledged, as if it had never reached
// the disk. Loaded before katafleet by NODE_OPTIONS=--import, in its worker threads too. The storm must find the runs that are lost by it.
import { existsSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import process from 'node:process';
import { setTimeout } from 'node:timers';

const Database = createRequire(import.meta.url)('better-sqlite3');
/** Written when a commit has been dropped, so that it happens once, whatever is started again. */
const mark = process.env.KATAFLEET_STORM_DROPPED ?? '';
/** Commits with new runs that stay. */
let spare = 5;
/** By then the client has its answer, ms. */
const acknowledgedMs = 250;

const { transaction, prepare, exec } = Database.prototype;
const last = new WeakMap();

/** Called after each commit. */
function committed(db) {
  const before = last.get(db);
  const there = runsIn(db);
  last.set(db, there);
  const added = Array.from(there).filter((id) => before && !before.has(id));
  if (added.length === 0 || existsSync(mark) || (spare -= 1) >= 0) return;
  writeFileSync(mark, new Date().toISOString());
  setTimeout(() => {
    const drop = prepare.call(db, 'DELETE FROM runs WHERE id = ?');
    for (const id of added) drop.run(id);
    process.stderr.write(`storm: a commit with ${added.length} runs is dropped\n`);
  }, acknowledgedMs);
}

function runsIn(db) {
  try {
    return new Set(prepare.call(db, 'SELECT id FROM runs').pluck().all());
  } catch {
    return new Set(); // there is no such table yet
  }
}

const thenCommitted = (db, body) =>
  function (...words) {
    const answer = body.apply(this, words);
    if (!db.inTransaction) committed(db);
    return answer;
  };

Database.prototype.transaction = function (body) {
  const real = transaction.call(this, body);
  const kinds = ['deferred', 'immediate', 'exclusive'].map((kind) => [kind, thenCommitted(this, real[kind])]);
  return Object.assign(thenCommitted(this, real), Object.fromEntries(kinds), { database: this });
};

Database.prototype.exec = function (sql) {
  const answer = exec.call(this, sql);
  if (/^\s*(COMMIT|END)/i.test(sql)) committed(this);
  return answer;
};

Database.prototype.prepare = function (sql) {
  const statement = prepare.call(this, sql);
  if (/^\s*(COMMIT|END)/i.test(sql)) statement.run = thenCommitted(this, statement.run.bind(statement));
  return statement;
};
