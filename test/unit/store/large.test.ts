import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { serialize } from 'node:v8';
import Database from 'better-sqlite3';
import { longJson } from '../../../src/http/long-json.ts';
import { resultJson } from '../../../src/model/json.ts';
import { migrations } from '../../../src/store/migrations.ts';
import { Store } from '../../../src/store/store.ts';
import { result } from '../../support/katas.ts';
import { finished, journalFolder, refuses } from '../../support/stored.ts';
import { until } from '../../support/until.ts';

const KiB = 1024;
const MiB = 1024 * KiB;
const file = (path: string, content: Buffer) => ({ change: 'created' as const, path, mode: 0o644, mtimeNs: 5n, content });

/** Files of every kind: small, large, text whose letters lie across pieces, text to escape, many that are small one by one. */
const files = [
  file('empty', Buffer.alloc(0)),
  file('small', Buffer.from('größer')),
  file('bytes', randomBytes(2 * MiB + 1)),
  file('text', Buffer.from(`a${'ö€😀'.repeat(600_000)}`)),
  file('escaped', Buffer.from('"\\\n\u0000\u2028'.repeat(100_000))),
  file('cut letter', Buffer.concat([Buffer.alloc(800 * KiB, 'x'), Buffer.from([0xc3])])),
  ...Array.from({ length: 30 }, (_, number) => file(`many/${number}`, randomBytes(200 * KiB))),
];
const whole = result({ files });

async function textOf(json: ReturnType<typeof longJson>): Promise<string> {
  if (typeof json === 'string') return json;
  const chunks: Buffer[] = [];
  for await (const chunk of json) chunks.push(chunk as Buffer);
  assert.ok(Math.max(...chunks.map(({ length }) => length)) < 5 * MiB, 'no chunk is large');
  return Buffer.concat(chunks).toString();
}

for (const where of ['in memory', 'in files'] as const) {
  describe(`the store: a large result ${where}`, () => {
    let remove: () => void;
    let path: string;
    const open = (of: { keepBytes?: number } = {}) => Store.open(where === 'in files' ? path : ':memory:', { thread: false, ...of });
    beforeEach(() => void ({ remove, file: path } = journalFolder()));
    afterEach(() => remove());

    it('comes back as it was, and is told piece by piece', async () => {
      await using store = await open();
      await finished(store, 'r', whole);
      assert.deepEqual((await store.get('r'))?.result, whole);
      const there = (await store.look('r'))?.result;
      assert.ok(there);
      const inMemory = there.changes.files.reduce((sum, { content }) => sum + (Buffer.isBuffer(content) ? content.length : 0), 0);
      assert.ok(inMemory <= MiB, `${inMemory} bytes of files are in memory`);
      const json = longJson(resultJson(there));
      assert.equal(typeof json, 'object');
      assert.equal(await textOf(json), JSON.stringify(resultJson(whole)));
      assert.ok((await store.resultBytes('r')) < 16 * MiB);
    });

    it('gives any range of a file', async () => {
      await using store = await open();
      await finished(store, 'r', whole);
      const content = (await store.look('r'))?.result?.changes.files.find((each) => each.path === 'text')?.content;
      const bytes = files[3]?.content ?? Buffer.alloc(0);
      assert.ok(content && !Buffer.isBuffer(content));
      for (const [from, to] of [
        [0, 5],
        [1, MiB],
        [900_000, 2 * MiB],
        [bytes.length - 1, bytes.length + 9],
        [5, 5],
        [9, 2],
      ] as const) {
        const pieces: Buffer[] = [];
        for await (const piece of content.read(from, to)) pieces.push(piece);
        assert.ok(Buffer.concat(pieces).equals(bytes.subarray(from, Math.max(from, to))), `${from} to ${to}`);
        assert.ok(pieces.slice(0, -1).every(({ length }) => length % 3 === 0));
      }
    });

    it('counts with all its bytes, and goes with its run; the newest stays', async () => {
      await using store = await open({ keepBytes: 15 * MiB });
      await finished(store, 'first', whole, 2);
      const first = (await store.look('first'))?.result;
      await finished(store, 'second', whole, 3);
      await until(async () => (await store.get('first')) === undefined);
      assert.deepEqual((await store.get('second'))?.result, whole);
      if (where === 'in memory') return;
      const gone = first?.changes.files.find(({ content }) => !Buffer.isBuffer(content))?.content;
      assert.ok(gone && !Buffer.isBuffer(gone));
      await until(() =>
        assert.rejects(gone.read()[Symbol.asyncIterator]().next(), refuses('run.unknown')).then(
          () => true,
          () => false,
        ),
      );
    });
  });
}

describe('the store: a journal of release 0.1', () => {
  let path: string;
  let remove: () => void;
  beforeEach(() => {
    ({ remove, file: path } = journalFolder());
    mkdirSync(dirname(path));
  });
  afterEach(() => remove());

  /** Makes a journal of a schema of before with runs that have ended. */
  function old(schema: 1 | 2, runs: number, value: (index: number) => Buffer): void {
    const db = new Database(path);
    for (const sql of migrations.slice(0, schema)) db.exec(sql);
    db.pragma(`user_version = ${schema}`);
    const insert = db.prepare(
      `INSERT INTO runs (id, sequence, tenant, hash, image, placing, state, attempt, accepted_at, ended_at)
        VALUES (?, ?, 't', x'00', 'i', '{}', 'finished', 1, ?, ?)`,
    );
    const add = db.prepare('INSERT INTO results (run, bytes) VALUES (?, ?)');
    db.transaction(() => {
      for (let index = 1; index <= runs; index += 1) {
        insert.run(`r${index}`, index, index, index);
        add.run(`r${index}`, value(index));
      }
    })();
    db.close();
  }
  const v8 = (value: object) => Buffer.concat([Buffer.from([1]), serialize(value)]);

  it('is read if its first form has a large result in one value', async () => {
    old(1, 1, () => v8(whole));
    await using store = await Store.open(path, { thread: false });
    const there = (await store.look('r1'))?.result;
    assert.ok(there);
    assert.equal(await textOf(longJson(resultJson(there))), JSON.stringify(resultJson(whole)));
    assert.deepEqual((await store.get('r1'))?.result, whole);
  });

  it('serves while its runs are moved: lists, counts, pages, new runs, and what can’t be read is kept', async () => {
    const small = result({ files: [file('a', Buffer.from('x'))] });
    old(2, 3_000, (index) => (index === 5 ? Buffer.from([1, 2, 3]) : v8(small)));
    {
      await using store = await Store.open(path, { thread: false });
      assert.equal((await store.counts()).finished, 3_000);
      await finished(store, 'new');
      let seen = 0;
      for (let page = await store.list({ limit: 700 }); ; page = await store.list({ limit: 700, before: page.next })) {
        seen += page.runs.length;
        if (page.next === undefined) break;
      }
      assert.equal(seen, 3_001);
      assert.deepEqual((await store.get('r17'))?.result, small);
      assert.equal((await store.counts()).finished, 3_001);
    }
    // It was stopped in the middle: the next goes on.
    await using store = await Store.open(path, { thread: false });
    await store.prune({ resultsBefore: 100, eventsBefore: 0 });
    assert.equal((await store.counts()).finished, 3_001 - 100, 'the new one ended at 2');
    assert.deepEqual((await store.get('r100'))?.result, small);
    assert.equal((await store.get('r5'))?.result, undefined);
  });

  it('tells a result that can’t be read, when it is asked for', async () => {
    old(2, 1, () => Buffer.from([1, 2, 3]));
    await using store = await Store.open(path, { thread: false });
    await store.prune({ resultsBefore: 0, eventsBefore: 0 });
    await assert.rejects(store.get('r1'), refuses('journal.broken'));
    assert.equal((await store.summary('r1'))?.state, 'finished');
  });
});
