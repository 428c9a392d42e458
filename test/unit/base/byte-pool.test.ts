import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { ByteBudget } from '../../../src/base/byte-budget.ts';
import { BytePool } from '../../../src/base/byte-pool.ts';

describe('a pool of bytes', () => {
  it('keeps each budget’s floor from the others, and shares the rest', () => {
    const pool = new BytePool(100);
    const a = pool.budget({ most: 100, floor: 20 });
    const b = pool.budget({ most: 100, floor: 30 });
    assert.ok(a.tryOpen(10));
    assert.equal(a.tryOpen(61), undefined, 'the floor of the other');
    const held = a.tryOpen(60);
    assert.ok(held);
    assert.deepEqual([a.left, b.left], [0, 30]);
    assert.ok(b.tryOpen(30));
    assert.equal(b.tryOpen(1), undefined);
    held.close();
    assert.equal(b.left, 50);
    const alone = new BytePool(10).budget({ most: 5 });
    assert.ok(alone.tryOpen(20), 'while nobody holds anything, one user may have more');
  });

  it('counts a budget’s bytes by their weight', () => {
    const pool = new BytePool(100);
    const heavy = pool.budget({ most: 1_000, weight: 3 });
    const light = pool.budget({ most: 1_000 });
    assert.ok(heavy.tryOpen(20));
    assert.deepEqual([pool.held, heavy.left, light.left], [60, 40 / 3, 40]);
  });

  it('holds what is in memory already, whether there is room or not, and lets nobody else in then', async () => {
    const pool = new BytePool(100);
    const [given, asked] = [pool.budget({ most: Infinity }), pool.budget({ most: 100 })];
    const room = given.open();
    room.hold(150);
    assert.equal(asked.tryOpen(1), undefined);
    const [first, second] = [asked.open(), asked.open()];
    assert.equal(first.take(10), undefined, 'one user at a time goes on in any case');
    const waits = second.take(10);
    assert.ok(waits);
    room.hold(80);
    await waits;
    assert.equal(pool.held, 100);
  });

  it('serves users that wait before those that do not', () => {
    const pool = new BytePool(100);
    const [results, bodies] = [pool.budget({ most: 100, floor: 10 }), pool.budget({ most: 100 })];
    const full = bodies.tryOpen(90);
    const [first, second] = [results.open(), results.open()];
    assert.equal(first.take(10), undefined);
    assert.ok(second.take(50));
    assert.ok(full);
    full.hold(60);
    assert.equal(bodies.tryOpen(1), undefined, 'somebody waits for these 30 bytes');
    full.close();
    assert.equal(results.held, 60);
    assert.ok(bodies.tryOpen(1));
  });

  it('never holds more than it has and what the first users need, and lets nobody wait for good', async () => {
    const takes = fc.array(fc.nat(40), { minLength: 1, maxLength: 4 });
    const user = fc.record({ budget: fc.nat(2), takes });
    await fc.assert(
      fc.asyncProperty(fc.array(user, { maxLength: 12 }), fc.integer({ min: 30, max: 90 }), async (users, most) => {
        const pool = new BytePool(most);
        const budgets: ByteBudget[] = [0, 10, 20].map((floor, at) => pool.budget({ most: 60, floor, weight: at === 0 ? 2 : 1 }));
        const largest = users.reduce(
          (sum, one) =>
            Math.max(
              sum,
              one.takes.reduce((all, bytes) => all + bytes, 0),
            ),
          0,
        );
        await Promise.all(
          users.map(async (one) => {
            const budget = budgets[one.budget];
            if (!budget) return;
            const room = budget.open();
            for (const bytes of one.takes) {
              await room.take(bytes);
              assert.ok(pool.held <= most + largest * 4, `${pool.held} of ${most}`); // the first of each, one of them counts twice
              await new Promise(setImmediate);
            }
            room.close();
          }),
        );
        assert.equal(pool.held, 0);
      }),
      { numRuns: 200 },
    );
  });
});
