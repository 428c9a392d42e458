import assert from 'node:assert/strict';
import { Store } from '../../../src/store/store.ts';
import { accepting, failure, finished, placing, refuses, request, result } from '../../support/stored.ts';

describe('the store: a run', () => {
  let store: Store;
  beforeEach(async () => void (store = await Store.open(':memory:')));
  afterEach(() => store.close());
  const accept = accepting(() => store);
  const state = async (id: string) => (await store.get(id))?.state;

  it('is written down with all that it asks for, and handed out again as it was', async () => {
    await accept('r', { at: 1_234 });
    assert.deepEqual(await store.request('r'), request());
    assert.deepEqual(await store.get('r'), {
      id: 'r',
      tenant: 'default',
      key: undefined,
      image: 'gcc',
      state: 'waiting',
      placing: placing(),
      acceptedAt: 1_234,
      endedAt: undefined,
      error: undefined,
      attempts: [],
      result: undefined,
    });
    assert.equal(await store.get('other'), undefined);
  });

  it('the same key of the same tenant is the same run; another request under it is a conflict', async () => {
    const sent = (content = 'hi', name = 'x') => ({ request: request(name, content), placing: placing() });
    assert.deepEqual(await accept('r1', { key: 'k' }), { id: 'r1', known: false });
    assert.deepEqual(await accept('r2', { key: 'k' }), { id: 'r1', known: true });
    assert.equal(await store.known('default', 'k', sent()), 'r1');
    assert.deepEqual(await accept('r3', { key: 'k', tenant: 'other' }), { id: 'r3', known: false });
    await assert.rejects(accept('r4', { key: 'k', request: request('x', 'ho') }), refuses('request.conflict'));
    await assert.rejects(store.known('default', 'k', sent('hi', 'y')), refuses('request.conflict'));
    assert.deepEqual([(await accept('r5')).known, (await accept('r6')).known], [false, false], 'without a key each is its own');
    assert.equal(await store.get('r4'), undefined);
    assert.equal(await store.get('r2'), undefined);
  });

  it('equal keys that come at the same time are one run; only another request is refused', async () => {
    const at = [
      accept('a', { key: 'k' }),
      accept('b', { key: 'k' }),
      accept('c', { key: 'k', request: request('y') }),
      accept('d', { key: 'k' }),
    ];
    const [a, b, c, d] = await Promise.allSettled(at);
    assert.deepEqual(a, { status: 'fulfilled', value: { id: 'a', known: false } });
    assert.deepEqual([b, d], [b, b].fill({ status: 'fulfilled', value: { id: 'a', known: true } }));
    assert.ok(c?.status === 'rejected' && refuses('request.conflict')(c.reason));
    assert.equal((await store.list({ limit: 10 })).runs.length, 1);
  });

  it('is refused if its files are streams', async () => {
    const open = () => [Buffer.from('x')] as unknown as AsyncIterable<Uint8Array>;
    const streamed = { ...request(), files: [{ path: 'x', mode: 0, mtimeNs: 0n, content: { size: 1, open } }] };
    await assert.rejects(accept('r', { request: streamed }), refuses('request.invalid'));
    assert.equal(await store.get('r'), undefined);
  });

  it('has attempts whose numbers only grow', async () => {
    await accept('r');
    await store.begin('r', 1, { node: 'a', warm: true }, 1);
    await assert.rejects(store.begin('r', 1, { node: 'b' }, 2), refuses('internal'));
    assert.ok(await store.lost('r', 1, 'node gone', 3));
    assert.equal(await state('r'), 'waiting');
    await store.begin('r', 3, { node: 'b' }, 4);
    await assert.rejects(store.begin('r', 2, { node: 'c' }, 5), refuses('internal'));
    await assert.rejects(store.begin('nobody', 1, { node: 'c' }, 5), refuses('internal'));
    assert.deepEqual((await store.get('r'))?.attempts, [
      { number: 1, node: 'a', warm: true, resumed: false, startedAt: 1, endedAt: 3, state: 'lost', reason: 'node gone' },
      { number: 3, node: 'b', warm: undefined, resumed: false, startedAt: 4, endedAt: undefined, state: 'running', reason: undefined },
    ]);
  });

  it('has one result, of its newest attempt; a late one of an older attempt is refused', async () => {
    await accept('r');
    await store.begin('r', 1, { node: 'a' }, 1);
    await store.lost('r', 1, 'silent', 2);
    assert.equal(await store.finish('r', 1, result('r', { node: 'late' }), 3), false, 'while it waits');
    await store.begin('r', 2, { node: 'b' }, 4);
    assert.equal(await store.finish('r', 1, result('r', { node: 'late' }), 5), false);
    assert.equal(await store.lost('r', 1, 'silent', 5), false);
    assert.equal(await store.fail('r', 1, failure, 5), false);
    assert.equal(await store.finish('r', 2, result('r', { node: 'b' }), 6), true);
    assert.equal(await store.finish('r', 2, result('r', { node: 'twice' }), 7), false);
    assert.equal(await store.fail('r', 2, failure, 7), false);
    assert.equal(await store.cancel('r', 7), false);
    await assert.rejects(store.begin('r', 3, { node: 'c' }, 8), refuses('internal'));
    const record = await store.get('r');
    assert.deepEqual(
      [record?.state, record?.endedAt, record?.result?.node, record?.attempts.map((attempt) => attempt.state)],
      ['finished', 6, 'b', ['lost', 'accepted']],
    );
    assert.equal(await store.request('r'), undefined, 'what it asked for takes no more room');
  });

  it('fails or is cancelled once, waiting or running', async () => {
    for (const id of ['w', 'f', 'c']) await accept(id);
    await store.begin('f', 1, { node: 'a' }, 1);
    await store.begin('c', 1, { node: 'a' }, 1);
    assert.ok(await store.fail('w', undefined, { ...failure, hint: 'mend it' }, 2));
    assert.ok(await store.fail('f', 1, failure, 2));
    assert.ok(await store.cancel('c', 2));
    assert.deepEqual(
      [await store.cancel('w', 3), await store.fail('c', 1, failure, 3), await store.finish('f', 1, result('f'), 3)],
      [false, false, false],
    );
    assert.deepEqual((await store.get('w'))?.error, { ...failure, hint: 'mend it' });
    const ends = await Promise.all(['w', 'f', 'c'].map((id) => store.get(id)));
    assert.deepEqual(
      ends.map((record) => [record?.state, record?.attempts[0]?.state]),
      [
        ['failed', undefined],
        ['failed', 'failed'],
        ['cancelled', 'cancelled'],
      ],
    );
    assert.deepEqual(await store.counts(), { waiting: 0, running: 0, finished: 0, failed: 2, cancelled: 1 });
  });

  it('changes nothing and answers the same when a write comes again, as after a worker’s death', async () => {
    const twice = async <T>(write: () => Promise<T>) => [await write(), await write()];
    assert.deepEqual(await twice(() => accept('r', { key: 'k' })), [
      { id: 'r', known: false },
      { id: 'r', known: false },
    ]);
    await twice(() => store.begin('r', 1, { node: 'a' }, 1));
    assert.deepEqual(await twice(() => store.lost('r', 1, 'gone', 2)), [true, true]);
    await twice(() => store.begin('r', 2, { node: 'b' }, 3));
    assert.deepEqual(await twice(() => store.finish('r', 2, result('r'), 4)), [true, true]);
    await accept('f');
    assert.deepEqual(await twice(() => store.fail('f', undefined, failure, 5)), [true, true]);
    await accept('c');
    assert.deepEqual(await twice(() => store.cancel('c', 6)), [true, true]);
    assert.deepEqual(await store.counts(), { waiting: 0, running: 0, finished: 1, failed: 1, cancelled: 1 });
    assert.equal((await store.get('r'))?.attempts.length, 2);
  });

  it('returns unfinished runs in the order in which they were accepted, in pages', async () => {
    for (const id of ['c', 'a', 'd', 'b']) await accept(id, { at: 5 });
    await store.begin('a', 1, { node: 'n' }, 6);
    await store.cancel('d', 7);
    const first = await store.unfinished({ limit: 2 });
    const second = await store.unfinished({ after: first.next, limit: 2 });
    assert.deepEqual(
      [...first.runs, ...second.runs].map(({ id, lastAttempt }) => [id, lastAttempt]),
      [
        ['c', 0],
        ['a', 1],
        ['b', 0],
      ],
    );
    assert.equal(second.next, undefined);
  });

  it('tells the tries, and the attempts that do not count', async () => {
    await accept('r');
    for (const [index, reason] of ['the node was lost', 'no try: no room', 'katafleet ended in the middle of it'].entries()) {
      await store.begin('r', index + 1, { node: 'a' }, 1);
      await store.lost('r', index + 1, reason, 2);
    }
    await store.begin('r', 4, { node: 'a' }, 1);
    await store.stopped('r', 4, 2);
    const [run] = (await store.unfinished({ limit: 1 })).runs;
    assert.deepEqual([run?.tries, run?.abandoned, run?.stopped, run?.lastAttempt], [2, 1, 2, 4]);
  });

  it('is forgotten after its time, with its key; an unfinished run never is', async () => {
    await Promise.all(Array.from({ length: 1_200 }, (_, index) => accept(`old${index}`)));
    await Promise.all(Array.from({ length: 1_200 }, (_, index) => store.cancel(`old${index}`, 10)));
    await accept('kept', { key: 'k' });
    await store.begin('kept', 1, { node: 'a' }, 1);
    await store.finish('kept', 1, result('kept'), 99);
    await accept('waits', { at: 1 });
    assert.deepEqual(await store.prune({ resultsBefore: 99, eventsBefore: 0 }), { runs: 1_200, events: 0 });
    assert.deepEqual(
      (await store.list({ limit: 10 })).runs.map(({ id }) => id),
      ['waits', 'kept'],
    );
    assert.deepEqual(await store.prune({ resultsBefore: 100, eventsBefore: 0 }), { runs: 1, events: 0 });
    assert.deepEqual([await store.get('kept'), (await accept('anew', { key: 'k' })).known], [undefined, false]);
    assert.deepEqual(await store.counts(), { waiting: 2, running: 0, finished: 0, failed: 0, cancelled: 0 });
  });

  it('tells when each image was last asked for', async () => {
    await accept('a', { at: 5 });
    await accept('b', { at: 9, request: { ...request(), image: 'docker.io/library/gcc:latest' } });
    await accept('c', { at: 7, request: { ...request(), image: 'python:3' } });
    assert.deepEqual([...(await store.imageUses())].sort(), [
      ['gcc:latest', 9],
      ['python:3', 7],
    ]);
  });

  it('is told with the memory that its result needs', async () => {
    await finished(store, 'r');
    assert.ok((await store.resultBytes('r')) > 0);
    assert.equal(await store.resultBytes('other'), 0);
  });
});

describe('the store: what it keeps beside runs', () => {
  let store: Store;
  beforeEach(async () => void (store = await Store.open(':memory:')));
  afterEach(() => store.close());

  it('events, newest first, of one node or all, until they are forgotten', async () => {
    await store.event('a', 'ready', 'was probing', 1);
    await store.event('b', 'down', 'x'.repeat(5_000), 2);
    await store.event('a', 'down', '', 3);
    assert.deepEqual(
      (await store.events({ limit: 10 })).map(({ at, node }) => [at, node]),
      [
        [3, 'a'],
        [2, 'b'],
        [1, 'a'],
      ],
    );
    assert.deepEqual(await store.events({ node: 'a', limit: 1 }), [{ at: 3, node: 'a', kind: 'down', detail: '' }]);
    assert.ok(((await store.events({ node: 'b', limit: 1 }))[0]?.detail.length ?? 0) <= 2_000, 'what an engine says has a bound');
    assert.deepEqual(await store.prune({ resultsBefore: 0, eventsBefore: 3 }), { runs: 0, events: 2 });
  });

  it('nodes’ cordons and drains, and the last maintenance of each job', async () => {
    await store.setNodeSetting('a', { cordoned: true, draining: true });
    await store.setNodeSetting('b', { cordoned: true, draining: false, machine: 'engine-1' });
    await store.setNodeSetting('a', { cordoned: false, draining: false });
    assert.deepEqual(await store.nodeSettings(), [
      { name: 'a', cordoned: false, draining: false },
      { name: 'b', cordoned: true, draining: false, machine: 'engine-1' },
    ]);
    assert.equal(await store.maintenance('reap'), undefined);
    await store.maintenanceStarted('reap', 1);
    await store.maintenanceEnded('reap', 2, true, 'fine');
    assert.deepEqual(await store.maintenance('reap'), { startedAt: 1, endedAt: 2, outcome: 'done', detail: 'fine' });
    await store.maintenanceStarted('reap', 3);
    assert.deepEqual(await store.maintenance('reap'), { startedAt: 3, endedAt: undefined, outcome: 'running', detail: undefined });
  });
});
