import assert from 'node:assert/strict';
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { Store, type StoreOptions } from '../../../src/store/store.ts';
import { hashOf } from '../../../src/store/hash.ts';
import { accepting, finished, journalFolder, placing, refuses, request, withFile } from '../../support/stored.ts';
import { until } from '../../support/until.ts';

const KiB = 1024;
const MiB = 1024 * KiB;

describe('the store: the files', () => {
  let folder: string;
  let file: string;
  let remove: () => void;
  beforeEach(() => void ({ folder, file, remove } = journalFolder()));
  afterEach(() => remove());

  // Without a thread: each would have to compile the store first.
  const open = (path: string, more: StoreOptions = {}) => Store.open(path, { thread: false, ...more });
  const accept = (store: Store, id: string, more: object = {}) => accepting(() => store)(id, { tenant: 't', at: 1, ...more });
  const segments = () => {
    try {
      return readdirSync(join(folder, 'state/journal.segments')).sort();
    } catch {
      return []; // none was made
    }
  };

  it('are readable by their owner only, and so are their folders', async () => {
    const before = process.umask(0);
    try {
      await using store = await open(file);
      await accept(store, 'r', { request: request('x', Buffer.alloc(20 * KiB)) });
      const mode = (path: string) => statSync(join(folder, 'state', path)).mode & 0o777;
      const [segment = ''] = segments();
      assert.deepEqual(
        ['', 'journal.db', 'journal.db-wal', 'journal.segments', `journal.segments/${segment}`].map(mode),
        [0o700, 0o600, 0o600, 0o700, 0o600],
      );
    } finally {
      process.umask(before);
    }
  });

  it('have one katafleet at a time', async () => {
    await using store = await open(file);
    await assert.rejects(open(file), (thrown) => refuses('journal.locked')(thrown) && (thrown as Error).message.includes(file));
    await accept(store, 'r');
  });

  it('keep their identity and count their openings', async () => {
    const first = await open(file);
    const { identity, epoch, since } = first;
    await first.close();
    await using again = await open(file);
    assert.deepEqual([again.identity, again.epoch, again.since], [identity, epoch + 1, since]);
    await using other = await open(join(folder, 'other.db'));
    assert.notEqual(other.identity, identity);
  });

  it('make a run that was under way wait again: its attempt is lost, and no number is used twice', async () => {
    const before = await open(file);
    for (const id of ['r', 'w']) await accept(before, id);
    await before.begin('r', 1, { node: 'a' }, 1);
    await finished(before, 'done');
    await before.close();
    await using after = await open(file);
    const record = await after.get('r');
    assert.deepEqual(
      [record?.state, record?.attempts[0]?.state, record?.attempts[0]?.reason],
      ['waiting', 'lost', 'katafleet ended in the middle of it'],
    );
    const done = await after.get('done');
    assert.deepEqual([done?.state, done?.attempts[0]?.state], ['finished', 'accepted']);
    assert.deepEqual(
      (await after.unfinished({ limit: 9 })).runs.map(({ id, lastAttempt, abandoned, tries }) => [id, lastAttempt, abandoned, tries]),
      [
        ['r', 2, 1, 1],
        ['w', 1, 0, 0],
      ],
    );
    assert.deepEqual(await after.counts(), { waiting: 2, running: 0, finished: 1, failed: 0, cancelled: 0 });
    await assert.rejects(after.begin('r', 2, { node: 'a' }, 1), refuses('internal'));
    await after.begin('r', 3, { node: 'a' }, 1);
  });

  it('are refused and left unchanged if a newer katafleet wrote them', async () => {
    await (await open(file)).close();
    const db = new Database(file);
    db.pragma('user_version = 99');
    db.close();
    const bytes = readFileSync(file);
    await assert.rejects(open(file), refuses('journal.newer'));
    assert.equal(readFileSync(file).compare(bytes), 0, 'nothing was written to it');
  });

  it('are refused with a message and left unchanged if they are no journal', async () => {
    await (await open(file)).close();
    writeFileSync(file, 'what somebody wrote\n'.repeat(500));
    await assert.rejects(open(file), refuses('journal.broken'));
    assert.match(readFileSync(file, 'utf8'), /^what somebody wrote/);
  });

  it('are refused with a message if they can’t be created', async () => {
    writeFileSync(join(folder, 'state'), 'a file where a folder should be');
    await assert.rejects(open(file), refuses('journal.broken'));
  });

  it('with an unreadable value are told with its run, and serve the other runs', async () => {
    const before = await open(file);
    for (const id of ['r', 's']) await accept(before, id);
    await before.close();
    const db = new Database(file);
    db.prepare("UPDATE requests SET bytes = x'01FF00' WHERE run = 1").run();
    db.close();
    await using store = await open(file);
    await assert.rejects(store.request('r'), refuses('journal.broken'));
    assert.deepEqual(await store.request('s'), request());
  });

  it('take the word of a key that an earlier release wrote down, whose hash was over defaults of that time', async () => {
    const sent = { command: ['make'] };
    {
      await using store = await open(file);
      await accept(store, 'r', { key: 'k', sent });
      await assert.rejects(store.known('t', 'k', { command: ['other'] }), refuses('request.conflict'));
    }
    const db = new Database(file);
    db.prepare('UPDATE runs SET hash = ?').run(await hashOf(request()));
    db.close();
    await using store = await open(file);
    assert.equal(await store.known('t', 'k', sent), 'r');
    assert.deepEqual(await accept(store, 's', { key: 'k', sent: { command: ['make'] } }), { id: 'r', known: true });
  });

  it('give their room back when runs are forgotten: rows, and whole segments', async () => {
    await using store = await open(file, { keepBytes: 64 * MiB });
    for (let index = 0; index < 300; index += 1)
      await finished(store, `small${index}`, withFile(`small${index}`, Buffer.alloc(15 * KiB, index)));
    for (let index = 0; index < 10; index += 1)
      await finished(store, `large${index}`, withFile(`large${index}`, Buffer.alloc(2 * MiB, index)));
    assert.equal(segments().length, 4, 'segments of 8 MiB at most');
    await store.prune({ resultsBefore: 3, eventsBefore: 0 });
    assert.equal((await store.list({ limit: 9 })).runs.length, 0);
    await until(() => segments().length === 1); // the one that is open
    await store.close();
    assert.ok(statSync(file).size < MiB, String(statSync(file).size));
    await using again = await open(file);
    assert.deepEqual([segments(), (await again.counts()).finished], [[], 0]);
  });

  it('keep large requests in segments, which go when their runs have ended; one that waits is written anew', async () => {
    await using store = await open(file, { keepBytes: 16 * MiB }); // segments of 2 MiB
    const content = (index: number) => Buffer.alloc(300 * KiB, index);
    for (let index = 0; index < 14; index += 1) await accept(store, `r${index}`, { request: request('x', content(index)) });
    const before = segments();
    assert.equal(before.length, 3);
    assert.deepEqual(await store.request('r5'), request('x', content(5)));
    for (let index = 0; index < 14; index += 1) if (index !== 1) await store.cancel(`r${index}`, 2);
    const isThere = (name: string | undefined) => name !== undefined && segments().includes(name);
    await until(() => !isThere(before[0]) && !isThere(before[1]));
    assert.deepEqual(await store.request('r1'), request('x', content(1)));
    await store.cancel('r1', 3);
    await until(() => segments().length === 1); // the one that is open
  });

  it('lose no record when a segment has a torn end: it was never named', async () => {
    const before = await open(file);
    await finished(before, 'r', withFile('r', Buffer.alloc(100 * KiB, 7)));
    await before.close();
    const [name = ''] = segments();
    writeFileSync(join(folder, 'state/journal.segments', name), 'torn', { flag: 'a' });
    writeFileSync(join(folder, 'state/journal.segments/20200101T000000Z-1-m9.results'), 'never named');
    await using store = await open(file);
    assert.deepEqual((await store.get('r'))?.result, withFile('r', Buffer.alloc(100 * KiB, 7)));
    assert.deepEqual(segments(), [name]);
  });

  it('are copied while they are in use', async () => {
    await using store = await open(file);
    await accept(store, 'waits', { request: request('x', Buffer.alloc(50 * KiB, 3)) });
    await finished(store, 'done', withFile('done', Buffer.alloc(MiB, 5)));
    await store.backup(join(folder, 'copy'));
    await store.cancel('waits', 9);
    await using copy = await open(join(folder, 'copy/journal.db'));
    assert.equal(copy.identity, store.identity);
    assert.deepEqual((await copy.get('done'))?.result, withFile('done', Buffer.alloc(MiB, 5)));
    assert.deepEqual(await copy.request('waits'), request('x', Buffer.alloc(50 * KiB, 3)));
    assert.equal(statSync(join(folder, 'copy/journal.db')).mode & 0o777, 0o600);
  });

  it('are the same with each group of writes on the disk', async () => {
    {
      await using store = await open(file, { durability: 'power' });
      await finished(store, 'r', withFile('r', Buffer.alloc(MiB, 5)));
      await accept(store, 'w', { request: request('x', Buffer.alloc(50 * KiB, 3)) });
    }
    await using store = await open(file);
    assert.deepEqual((await store.get('r'))?.result, withFile('r', Buffer.alloc(MiB, 5)));
    assert.deepEqual(await store.request('w'), request('x', Buffer.alloc(50 * KiB, 3)));
    assert.deepEqual(placing({ tenant: 't' }), (await store.get('w'))?.placing);
  });
});
