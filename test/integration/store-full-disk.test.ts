import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { Store } from '../../src/store/store.ts';
import { SmallDisk } from '../support/small-disk.ts';
import { accepting, failure, refuses, request, withFile } from '../support/stored.ts';
import { until } from '../support/until.ts';

const KiB = 1024;

for (const thread of [true, false]) {
  describe(`the store on a full disk, ${thread ? 'in a thread' : 'in this thread'}`, () => {
    it('refuses new runs at once, owes the ends of others in order, reads meanwhile, and goes on by itself', async () => {
      using disk = new SmallDisk(4_000 * KiB);
      const troubles: string[] = [];
      await using store = await Store.open(join(disk.folder, 'journal.db'), { thread, onTrouble: (message) => troubles.push(message) });
      const accept = accepting(() => store);
      let taken = 0;
      store.onTakes(() => (taken += 1));
      for (const id of ['a', 'b', 'c', 'd']) await accept(id);
      await store.begin('a', 1, { node: 'n' }, 1);
      disk.fill();
      const large = withFile('a', Buffer.alloc(100 * KiB, 1));
      const small = withFile('b', Buffer.alloc(10 * KiB, 2));
      const ends = [
        store.finish('a', 1, large, 2),
        store.begin('b', 1, { node: 'n' }, 2).then(() => true),
        store.lost('b', 1, 'gone', 3),
        store.begin('b', 2, { node: 'n' }, 4).then(() => true),
        store.finish('b', 2, small, 5),
        store.fail('c', undefined, failure, 6),
      ];
      const refused = await Promise.allSettled(
        Array.from({ length: 40 }, (_, index) => accept(`new${index}`, { request: request('x', Buffer.alloc(14 * KiB)) })),
      );
      assert.ok(refused.some(({ status }) => status === 'rejected'));
      for (const outcome of refused)
        if (outcome.status === 'rejected') assert.ok(refuses('journal.full')(outcome.reason), String(outcome.reason));
      assert.equal(store.takes, false);
      await assert.rejects(accept('more'), refuses('journal.full'));
      await assert.rejects(accept('large', { request: request('x', Buffer.alloc(100 * KiB)) }), refuses('journal.full'));
      assert.equal((await store.get('d'))?.state, 'waiting');
      disk.empty();
      assert.deepEqual(await Promise.all(ends), [true, true, true, true, true, true]);
      await until(() => store.takes);
      assert.ok(taken > 0);
      assert.deepEqual((await store.get('a'))?.result, large);
      const record = await store.get('b');
      assert.deepEqual([record?.result, record?.attempts.map(({ state }) => state)], [small, ['lost', 'accepted']]);
      assert.equal((await store.get('c'))?.state, 'failed');
      for (const [index, { status }] of refused.entries())
        assert.equal((await store.get(`new${index}`)) !== undefined, status === 'fulfilled', 'what was refused is not stored');
      await accept('again');
      assert.ok(troubles.length > 0);
    });

    it('is closed in time, and tells whose end was given up', async () => {
      using disk = new SmallDisk(4_000 * KiB);
      const troubles: string[] = [];
      const file = join(disk.folder, 'journal.db');
      const store = await Store.open(file, { thread, onTrouble: (message) => troubles.push(message) });
      for (const id of ['a', 'b']) {
        await accepting(() => store)(id);
        await store.begin(id, 1, { node: 'n' }, 1);
      }
      disk.fill();
      const given = await Promise.all([
        assert.rejects(store.finish('a', 1, withFile('a', Buffer.alloc(100 * KiB)), 2)),
        // Rows may find room in the log that is there: so many do not.
        ...Array.from({ length: 400 }, () => store.event('n', 'kind', 'x'.repeat(2_000), 1).catch(() => undefined)),
        store.close(),
      ]);
      assert.ok(given);
      disk.empty();
      await using next = await Store.open(file, { thread });
      assert.equal((await next.get('a'))?.state, 'waiting');
      for (const name of readdirSync(join(disk.folder, 'journal.segments'))) assert.fail(`${name} was never named`);
    });
  });
}
