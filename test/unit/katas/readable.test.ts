import assert from 'node:assert/strict';
import fc from 'fast-check';
import { filesTable } from '../../../src/cli/show/kata-view.ts';
import { outcomeKinds } from '../../../src/model/outcome.ts';
import { noChanges, type RunResult } from '../../../src/model/result.ts';
import { importCommits } from '../../../src/katas/fast-import.ts';
import { Git } from '../../../src/katas/git.ts';
import { readTip } from '../../../src/katas/read.ts';
import { filesJson, json, readStamps, readTestRecord, testRecord } from '../../../src/katas/record.ts';
import { fateOf, Rules } from '../../../src/katas/rules.ts';
import { noFiles, type KataFile } from '../../../src/katas/kata-files.ts';
import { apply } from '../../../src/katas/sandbox.ts';
import { resultJson } from '../../../src/model/json.ts';
import { requestOf, RunJson } from '../../../src/model/request-json.ts';
import { decode, encode, joined } from '../../../src/store/form/record.ts';
import { anyOutcome, anyResult, int64, mode, path, paths, whole } from '../../support/any-result.ts';
import { assertHolds } from '../../support/golden.ts';
import { created, file, result, startPoint, testStore } from '../../support/katas.ts';

/** What git prints of a kata's documents at most. */
const mostDocument = 64 * 1024 * 1024;
const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value));

describe('what katafleet writes it can read', () => {
  it('has an example of every way that a run can end', () => {
    assert.deepEqual(Object.keys(anyOutcome).toSorted(), outcomeKinds.toSorted());
  });

  it('the record of any test', () => {
    fc.assert(
      fc.property(anyResult, paths, (ran, names) => {
        const lists = { created: names, changed: names, deleted: names, hidden: names, ignored: names };
        const leftOut = { leftOut: ran.changes.omitted, leftOutCount: ran.changes.omittedCount };
        const record = testRecord(1, 0, 'image', { kind: 'ran', result: ran }, { ...lists, ...leftOut });
        assert.deepEqual(plain(readTestRecord(json(record), 'test.json')), plain(record));
        const failed = testRecord(1, 0, 'image', { kind: 'failed', reason: 'x'.repeat(100_000) }, { ...lists, ...leftOut });
        assert.ok(json(readTestRecord(json(failed), 'test.json')).length < 20_000);
      }),
    );
  });

  it('the stamps of any files and folders', () => {
    const entry = fc.record({ mode, mtimeNs: int64, hidden: fc.boolean() }, whole);
    fc.assert(
      fc.property(
        fc.dictionary(path, entry, { noNullPrototype: true }),
        fc.dictionary(path, entry, { noNullPrototype: true }),
        (files, folders) => {
          const sandbox = { files: new Map(Object.entries(files)) as Map<string, KataFile>, folders: new Map(Object.entries(folders)) };
          const read = readStamps(filesJson(sandbox));
          const bare = (entries: ReadonlyMap<string, object>) =>
            new Map(Array.from(entries, ([name, one]) => [name, { path: name, ...one }]));
          assert.deepEqual(read.files, bare(sandbox.files));
          assert.deepEqual(read.folders, bare(sandbox.folders));
        },
      ),
    );
  });

  it('any result in the journal, and over the API', () => {
    fc.assert(
      fc.property(anyResult, (ran) => {
        assert.deepEqual(
          decode(Buffer.from(joined(encode(ran))), () => assert.fail('nothing is far')),
          ran,
        );
        const { changes } = JSON.parse(JSON.stringify(resultJson(ran))) as { changes: { files: { change?: string }[]; folders: object[] } };
        for (const one of changes.files) delete one.change;
        const again = requestOf(RunJson.parse({ image: 'i', command: ['x'], ...{ files: changes.files, folders: changes.folders } }), {});
        assert.deepEqual(again.folders, ran.changes.folders);
        assert.deepEqual(
          again.files.map(({ path: name, mode: bits, mtimeNs, content }) => ({ path: name, mode: bits, mtimeNs, content })),
          ran.changes.files.map(({ change: _, ...one }) => one),
        );
      }),
    );
  });

  it('the documents of the largest folder that is let in', () => {
    // Names of 4,090 bytes that are no text, each byte of which takes six in JSON.
    const long = (number: number) =>
      `${Array.from({ length: 15 }, () => '\udcff'.repeat(255)).join('/')}/${String(number).padStart(250, '0')}`;
    const folders = Array.from({ length: 2_050 }, (_, number) => ({ path: long(number), mode: 0o755, mtimeNs: 0n }));
    const omitted = folders.slice(0, 1_000).map(({ path: name }) => ({ path: name, reason: 'fifo' as const }));
    const changes = { ...noChanges(), folders, deleted: folders.map(({ path: name }) => name), omitted, omittedCount: omitted.length };
    const { sandbox, shown, hidden, ignored } = apply(noFiles, changes, fateOf(Rules.parse({}), []));
    assert.ok(sandbox.folders.size > 900 && sandbox.folders.size < folders.length);
    assert.equal(shown.omittedCount, omitted.length + folders.length - sandbox.folders.size, 'the rest is told');
    const written = filesJson(sandbox);
    assert.ok(written.length < mostDocument / 2, `${written.length} bytes of files.json`);
    const names = folders.map(({ path: name }) => name);
    const lists = { created: names, changed: names, deleted: names, hidden: [...hidden, ...names], ignored: [...ignored, ...names] };
    const record = testRecord(
      1,
      0,
      'i',
      { kind: 'ran', result: result(changes) },
      { ...lists, leftOut: shown.omitted, leftOutCount: shown.omittedCount },
    );
    assert.ok(json(record).length < mostDocument, `${json(record).length} bytes of test.json`);
    assert.equal(readTestRecord(json(record), 'test.json').leftOutCount, shown.omittedCount);
  });

  it('lists a time that no calendar has', () => {
    const kept = { oid: '', size: 1, mode: 0o644, hidden: false, content: undefined };
    for (const mtimeNs of [10n ** 21n, 10n ** 30n, -(10n ** 30n), 0n])
      assert.match(filesTable({ files: new Map([['x', { ...kept, mtimeNs }]]), folders: new Map() }), /x/);
  });
});

describe('what older releases wrote is read', () => {
  it('a record of 0.1.0', () => {
    const golden = `{
 "version": 1,
 "test": 3,
 "at": "2026-11-20T10:11:12.131Z",
 "image": "gcc-assert",
 "run": "3f1f6c1e-0c3e-4a56-9b67-2f5f0e2f7a11",
 "node": "local",
 "attempt": 1,
 "warm": true,
 "resumed": false,
 "outcome": {
  "kind": "exited",
  "code": 2
 },
 "light": "amber",
 "timings": {
  "queueMs": 0.1,
  "acquireMs": 1,
  "executeMs": 5.25,
  "collectMs": 1,
  "totalMs": 7.35
 },
 "steps": [
  {
   "outcome": {
    "kind": "exited",
    "code": 2
   },
   "stdoutBytes": 17,
   "stderrBytes": 0,
   "stdoutCut": false,
   "stderrCut": false,
   "wallMs": 5,
   "userMs": 2,
   "systemMs": 1,
   "peakMemory": 1024,
   "oomKills": 0
  }
 ],
 "created": ["hiker.o", "\\udcff"],
 "changed": [],
 "deleted": [],
 "hidden": ["hiker.o"],
 "ignored": [],
 "leftOut": [{ "path": "pipe", "reason": "fifo" }],
 "leftOutCount": 1
}
`;
    assertHolds(plain(readTestRecord(Buffer.from(golden), 'test.json')), JSON.parse(golden), 'record');
  });

  it('an avatar with times beyond 64 bits, an end on a full disk, or a broken list: it goes on, and mends itself', async () => {
    const folder = await badlyWritten();
    for (const [avatar, mtimeNs] of [
      ['late', 2n ** 63n - 1n],
      ['early', -(2n ** 63n)],
      ['full', 0n],
      ['large', 0n],
      ['broken', 0n],
    ] as const) {
      const store = await testStore({ folder });
      try {
        const { files } = await store.katas.files('abc', avatar);
        assert.equal(files.get('x')?.mtimeNs ?? 0n, mtimeNs, avatar);
        assert.equal((await store.katas.show('abc', avatar)).record.test, 1, avatar);
        await (
          await store.katas.test('abc', avatar, undefined)
        ).committed;
        assert.deepEqual((await store.katas.log('abc', avatar)).map(({ test }) => test).slice(0, 1), [2], avatar);
      } finally {
        await store.katas.close();
      }
    }
  });
});

/** A store with avatars as 0.1.0 wrote them when programs made it so. */
async function badlyWritten(): Promise<string> {
  const { katas, script, folder } = await testStore();
  await katas.create(startPoint(), 'abc');
  const runs: Record<string, RunResult> = {
    late: result({ files: [created('x', 'x', 0o644, 10n ** 21n)] }),
    early: result({ files: [created('x', 'x', 0o644, -(10n ** 21n))] }),
    full: result({}, { outcome: { kind: 'out_of_disk' } }),
    large: result(),
    broken: result(),
  };
  for (const [avatar, ran] of Object.entries(runs)) {
    script.run = () => Promise.resolve(ran);
    await (
      await katas.test('abc', avatar, { files: [file('hiker.c')] })
    ).committed;
  }
  const entry = JSON.stringify({ path: '\udcff'.repeat(4_000), mode: 0o755, mtimeNs: '0' });
  const large = `{"version":1,"files":[],"folders":[${Array.from({ length: 2_900 }, () => entry).join(',')}]}`;
  const git = new Git(1);
  for (const [avatar, content] of [
    ['large', large],
    ['broken', '{"version":1,"files":['],
  ] as const) {
    const repository = await katas.repository('abc', avatar);
    const plan = {
      author: { name: 'k', email: 'k@localhost' },
      at: 0,
      message: '1 green\n\nKatafleet-Commit: tested\nKatafleet-Test: 1\n',
      deletes: [],
      puts: [{ path: 'files.json', content: Buffer.from(content) }],
    };
    await importCommits(git, repository, [plan], readTip(repository));
  }
  await katas.close();
  return folder;
}
