import assert from 'node:assert/strict';
import fc from 'fast-check';
import { FairQueue } from '../../../src/scheduler/queue/queue.ts';
import { waiting } from '../../support/waiting.ts';

const wide = { runs: 1e9, bytes: 1e12, perTenant: 1e9 };
const GiB = 1024 ** 3;
const yes = () => true;

/** Jain's index: 1 when all have the same, 1/n when one has all. */
const jain = (shares: number[]) => shares.reduce((sum, x) => sum + x, 0) ** 2 / (shares.length * shares.reduce((sum, x) => sum + x * x, 0));

describe('scheduler: fairness', () => {
  it('one tenant’s thousand runs don’t delay another’s one, however long they have waited', () => {
    for (const lateBy of [0, 100, 29_000, 31_000, 120_000, 600_000]) {
      const queue = new FairQueue<undefined>(wide);
      // In many shapes, so that no lane of its own is served often.
      for (let count = 0; count < 1_000; count += 1) queue.admit(waiting({ tenant: 'crowd', shape: `s${count % 50}` }));
      for (let now = 0; now < lateBy; now += 1_000) queue.next(now, yes);
      const one = waiting({ tenant: 'single', since: lateBy });
      queue.admit(one);
      const turns = [queue.next(lateBy, yes), queue.next(lateBy + 1, yes)].map((run) => run?.id);
      assert.ok(turns.includes(one.id), `late by ${lateBy} ms`);
    }
  });

  it('a tenant that lacked room for long catches up only a little', () => {
    const queue = new FairQueue<undefined>(wide);
    queue.admit(waiting({ tenant: 'lagging', shape: 'gpu' }));
    for (let count = 0; count < 200; count += 1) {
      queue.admit(waiting({ tenant: 'busy' }));
      queue.next(count, ({ shape }) => shape !== 'gpu');
    }
    for (let count = 0; count < 100; count += 1) {
      queue.admit(waiting({ tenant: 'lagging' }));
      queue.admit(waiting({ tenant: 'busy' }));
    }
    const turns = Array.from({ length: 40 }, () => queue.next(1_000, ({ shape }) => shape !== 'gpu')?.tenant);
    const busy = turns.filter((tenant) => tenant === 'busy').length;
    assert.ok(busy >= 15 && busy < 20, `${busy} of 40`);
  });

  it('tenants that always want more get the same memory, whatever the size and number of their runs', () => {
    const sizes = fc.array(fc.constantFrom(0.125, 0.25, 0.5, 1, 2, 4), { minLength: 2, maxLength: 8 });
    fc.assert(
      fc.property(sizes, (gibibytes) => {
        const queue = new FairQueue<undefined>(wide);
        const given = gibibytes.map(() => 0);
        const more = (index: number) => queue.admit(waiting({ tenant: String(index), memory: (gibibytes[index] ?? 0) * GiB }));
        // A tenant with small runs has more of them waiting; each is followed by another.
        for (const index of gibibytes.keys()) for (let count = 0; count <= index; count += 1) more(index);
        for (let turn = 0; given.reduce((sum, x) => sum + x, 0) < 200 * gibibytes.length; turn += 1) {
          const index = Number(queue.next(turn, yes)?.tenant);
          given[index] = (given[index] ?? 0) + (gibibytes[index] ?? 0);
          more(index);
        }
        assert.ok(jain(given) > 0.999, given.join());
        assert.ok(Math.max(...given) - Math.min(...given) <= 2 * Math.max(...gibibytes), given.join());
      }),
      { numRuns: 40 },
    );
  });

  it('a run that is tried again is paid for once', () => {
    const queue = new FairQueue<undefined>(wide);
    for (let count = 0; count < 20; count += 1) for (const tenant of ['unlucky', 'other']) queue.admit(waiting({ tenant }));
    const ended: string[] = [];
    const lost = new Set<string>();
    while (ended.length < 20) {
      const run = queue.next(1, yes);
      assert.ok(run);
      if (run.tenant === 'unlucky' && !lost.has(run.id)) {
        lost.add(run.id);
        queue.requeue(run);
      } else {
        ended.push(run.tenant);
      }
    }
    const unlucky = ended.filter((tenant) => tenant === 'unlucky').length;
    assert.ok(unlucky >= 9 && unlucky <= 11, `${unlucky} of 20`);
  });

  it('does not count runs that a tenant had while the queue was empty', () => {
    const queue = new FairQueue<undefined>(wide);
    for (let count = 0; count < 500; count += 1) {
      queue.admit(waiting({ tenant: 'early' }));
      queue.next(count, yes);
    }
    for (let count = 0; count < 10; count += 1) for (const tenant of ['late', 'early']) queue.admit(waiting({ tenant }));
    const turns = Array.from({ length: 10 }, () => queue.next(1_000, yes)?.tenant);
    assert.equal(turns.filter((tenant) => tenant === 'early').length, 5);
  });

  it('after a restart, runs that waited before it take turns like all others', () => {
    const queue = new FairQueue<undefined>(wide);
    for (let count = 0; count < 100; count += 1) queue.restore(waiting({ tenant: 'crowd', since: count }));
    const one = waiting({ tenant: 'single', since: 200 });
    queue.admit(one);
    assert.ok([queue.next(300, yes), queue.next(300, yes)].some((run) => run?.id === one.id));
  });
});
