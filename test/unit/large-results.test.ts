import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { serialize } from 'node:v8';
import Database from 'better-sqlite3';
import { Placing } from '../../src/model/placing.ts';
import type { RunResult } from '../../src/model/result.ts';
import { resultJson } from '../../src/model/json.ts';
import { longJson } from '../../src/http/long-json.ts';
import { Journal } from '../../src/store/journal.ts';
import { migrations } from '../../src/store/migrations.ts';
import { aRequest } from '../support/builders.ts';
import { result } from '../support/katas.ts';

const KiB = 1024;
const MiB = 1024 * KiB;
const request = aRequest();
const file = (path: string, content: Buffer) => ({ change: 'created' as const, path, mode: 0o644, mtimeNs: 5n, content });

/** Files of every kind: small, large, text whose letters lie across pieces, text to escape, many that are small one by one. */
const files = [
  file('empty', Buffer.alloc(0)),
  file('small', Buffer.from('größer')),
  file('bytes', randomBytes(2 * MiB + 1)),
  file('text', Buffer.from(`a${'ö€😀'.repeat(300_000)}`)),
  file('escaped', Buffer.from('"\\\n\u0000\u2028'.repeat(100_000))),
  file('cut letter', Buffer.concat([Buffer.alloc(800 * KiB, 'x'), Buffer.from([0xc3])])),
  ...Array.from({ length: 30 }, (_, number) => file(`many/${number}`, randomBytes(200 * KiB))),
];

async function textOf(json: ReturnType<typeof longJson>): Promise<string> {
  if (typeof json === 'string') return json;
  const chunks: Buffer[] = [];
  for await (const chunk of json) chunks.push(chunk as Buffer);
  assert.ok(Math.max(...chunks.map(({ length }) => length)) < 5 * MiB, 'no chunk is large');
  return Buffer.concat(chunks).toString();
}

function finished(journal: Journal, id: string, whole: RunResult): void {
  journal.accept({ id, tenant: 't', request, placing: Placing.parse({}), at: 1 });
  journal.begin(id, 1, { node: 'n' }, 1);
  assert.ok(journal.finish(id, 1, whole, 1));
}

describe('a large result', () => {
  const whole = result({ files });

  it('comes back from the journal as it was, and is told piece by piece', async () => {
    using journal = Journal.open(':memory:');
    finished(journal, 'r', whole);
    assert.deepEqual(journal.get('r')?.result, whole);
    const there = journal.look('r')?.result;
    assert.ok(there);
    const inMemory = there.changes.files.reduce((sum, { content }) => sum + (Buffer.isBuffer(content) ? content.length : 0), 0);
    assert.ok(inMemory <= MiB, `${inMemory} bytes of files are in memory`);
    const json = longJson(resultJson(there));
    assert.equal(typeof json, 'object');
    assert.equal(await textOf(json), JSON.stringify(resultJson(whole)));
  });

  it('counts with all its bytes, and goes with its run', async () => {
    using journal = Journal.open(':memory:', { keepBytes: 15 * MiB });
    finished(journal, 'first', whole);
    const first = journal.look('first')?.result;
    finished(journal, 'second', whole);
    assert.equal(journal.get('first'), undefined);
    assert.deepEqual(journal.get('second')?.result, whole);
    const gone = first?.changes.files.find(({ content }) => !Buffer.isBuffer(content))?.content;
    assert.ok(gone && !Buffer.isBuffer(gone));
    await assert.rejects(gone.read()[Symbol.asyncIterator]().next(), { code: 'run.unknown' });
  });

  it('is read if an older release wrote it in one value', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'katafleet-journal-'));
    try {
      const db = new Database(join(folder, 'journal.db'));
      db.exec(migrations[0] ?? '');
      db.pragma('user_version = 1');
      db.prepare(
        `INSERT INTO runs (id, sequence, tenant, hash, image, placing, state, attempt, accepted_at, ended_at)
          VALUES ('r', 1, 't', x'00', 'i', '{}', 'finished', 1, 1, 2)`,
      ).run();
      db.prepare("INSERT INTO results (run, bytes) VALUES ('r', ?)").run(Buffer.concat([Buffer.from([1]), serialize(whole)]));
      db.close();
      using journal = Journal.open(join(folder, 'journal.db'));
      assert.deepEqual(journal.get('r')?.result, whole);
      const there = journal.look('r')?.result;
      assert.ok(there);
      assert.equal(await textOf(longJson(resultJson(there))), JSON.stringify(resultJson(whole)));
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
