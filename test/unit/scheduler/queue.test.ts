import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { QueueEntry } from '../../../src/scheduler/queue/entry.ts';
import { FairQueue } from '../../../src/scheduler/queue/queue.ts';
import { waiting } from '../../support/waiting.ts';

const wide = { runs: 1e9, bytes: 1e12, perTenant: 1e9 };
const yes = () => true;
type Run = QueueEntry<undefined>;

const step = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constantFrom('admit' as const, 'admit' as const, 'restore' as const),
      tenant: fc.constantFrom('a', 'b', 'c'),
      priority: fc.constantFrom(0, 5, 9),
      shape: fc.constantFrom('s', 't'),
      wait: fc.constantFrom(5, 1_000, 200_000, Infinity),
    }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('next' as const), open: fc.subarray(['s', 't']) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('requeue' as const), which: fc.nat(100) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('remove' as const), which: fc.nat(100) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('pass' as const), ms: fc.constantFrom(1, 100, 31_000) }) },
);

describe('scheduler: queue', () => {
  it('loses nothing and serves nothing twice, whatever comes in whatever order', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 120, size: 'max' }), (todo) => {
        const queue = new FairQueue<undefined>(wide);
        const inside = new Map<string, Run>();
        const served: Run[] = [];
        let now = 0;
        for (const one of todo) {
          switch (one.do) {
            case 'admit':
            case 'restore': {
              const run = waiting({ tenant: one.tenant, priority: one.priority, shape: one.shape, since: now, deadline: now + one.wait });
              if (one.do === 'restore') queue.restore(run);
              else assert.deepEqual(queue.admit(run), { admitted: true });
              inside.set(run.id, run);
              break;
            }
            case 'next': {
              const asked: string[] = [];
              const run = queue.next(now, ({ shape }) => asked.push(shape) > 0 && one.open.includes(shape));
              const could = Array.from(inside.values()).some(({ shape }) => one.open.includes(shape));
              assert.equal(run !== undefined, could, 'whoever can be served is found');
              const refused = asked.filter((shape) => !one.open.includes(shape));
              assert.equal(new Set(refused).size, refused.length, 'a shape that has no room is asked for once');
              if (!run) break;
              assert.equal(inside.get(run.id), run);
              inside.delete(run.id);
              served.push(run);
              break;
            }
            case 'requeue': {
              const [run] = served.splice(one.which % Math.max(1, served.length), 1);
              if (!run) break;
              queue.requeue(run);
              inside.set(run.id, run);
              break;
            }
            case 'remove': {
              const id = Array.from(inside.keys())[one.which % Math.max(1, inside.size)];
              assert.equal(queue.remove(id ?? 'nobody'), id !== undefined);
              inside.delete(id ?? 'nobody');
              break;
            }
            case 'pass': {
              now += one.ms;
              const over = queue.expired(now);
              assert.deepEqual(
                over.map(({ id }) => id).sort(),
                Array.from(inside.values())
                  .flatMap(({ id, deadline }) => (deadline <= now ? [id] : []))
                  .sort(),
              );
              for (const { id } of over) inside.delete(id);
            }
          }
          assert.deepEqual([queue.size, queue.bytes], [inside.size, 10 * inside.size]);
          for (const tenant of ['a', 'b', 'c'])
            assert.equal(queue.waitingOf(tenant), Array.from(inside.values()).filter((run) => run.tenant === tenant).length);
        }
        while (inside.size > 0) assert.ok(inside.delete(queue.next(now, yes)?.id ?? 'nobody'));
        assert.equal(queue.next(now, yes), undefined);
        assert.deepEqual(queue.bookSizes.tenants + queue.bookSizes.lanes, 0);
      }),
      { numRuns: 400 },
    );
  });

  it('serves a tenant’s runs in order, and puts a lost run before others of its shape', () => {
    const queue = new FairQueue<undefined>(wide);
    const runs = Array.from({ length: 5 }, (_, index) => waiting({ since: index }));
    for (const run of runs) queue.admit(run);
    const [first, second] = [queue.next(10, yes), queue.next(10, yes)];
    assert.deepEqual([first, second], [runs[0], runs[1]]);
    // Lost in either order, they have their old one.
    for (const lost of [second, first]) if (lost) queue.requeue(lost);
    assert.deepEqual(
      runs.map(() => queue.next(11, yes)?.id),
      runs.map(({ id }) => id),
    );
  });

  it('after a restart runs have the order in which they were accepted', () => {
    const queue = new FairQueue<undefined>({ ...wide, runs: 1 });
    const runs = Array.from({ length: 5 }, (_, index) => waiting({ since: index }));
    for (const index of [1, 3, 0, 2, 4]) queue.restore(runs[index] ?? assert.fail());
    assert.equal(queue.size, 5, 'none is refused');
    assert.deepEqual(
      runs.map(() => queue.next(9, yes)?.id),
      runs.map(({ id }) => id),
    );
  });

  it('serves the higher priority first, and raises runs that wait long, so that each is served', () => {
    const queue = new FairQueue<undefined>(wide);
    const low = waiting({ tenant: 'patient', priority: 0 });
    queue.admit(low);
    const turns: number[] = [];
    for (let now = 0; now <= 400_000 && turns.length === 0; now += 1_000) {
      queue.admit(waiting({ tenant: 'urgent', priority: 9, since: now }));
      queue.admit(waiting({ tenant: 'other', priority: 5, since: now }));
      if (queue.next(now, yes)?.id === low.id) turns.push(now);
    }
    // Nine levels of 30 s, and then its turn among equals.
    assert.equal(turns.length, 1);
    assert.ok((turns[0] ?? 0) >= 9 * 30_000 && (turns[0] ?? 0) <= 9 * 30_000 + 2_000, String(turns[0]));
  });

  it('refuses above its bounds, and says when to come back: after 1 s to 60 s', () => {
    const why = (queue: FairQueue<undefined>, run: Run) => {
      const answer = queue.admit(run);
      if (answer.admitted) return 'admitted';
      assert.ok(answer.retryAfterMs >= 1_000 && answer.retryAfterMs <= 60_000, String(answer.retryAfterMs));
      return answer.why;
    };
    const queue = new FairQueue<undefined>({ runs: 4, bytes: 100, perTenant: 2 });
    for (let count = 0; count < 2; count += 1) assert.equal(why(queue, waiting({ tenant: 'a' })), 'admitted');
    assert.equal(why(queue, waiting({ tenant: 'a' })), 'tenant');
    assert.equal(why(queue, waiting({ tenant: 'b', bytes: 81 })), 'bytes');
    assert.equal(why(queue, waiting({ tenant: 'b', bytes: 80 })), 'admitted');
    assert.equal(why(queue, waiting({ tenant: 'c', bytes: 0 })), 'admitted');
    assert.equal(why(queue, waiting({ tenant: 'd', bytes: 0 })), 'runs');
    queue.next(0, yes);
    assert.equal(why(queue, waiting({ tenant: 'd', bytes: 0 })), 'admitted');
    // Departures far apart, and a clock that was set back.
    for (const gap of [0, 1e9, 1, -1e12, 1e9]) {
      const slow = new FairQueue<undefined>({ runs: 1_000, bytes: 1e12, perTenant: 1_000 });
      for (let count = 0; count < 1_000; count += 1) slow.admit(waiting());
      for (let count = 0; count < 50; count += 1) slow.next(1_000 + count * gap, yes);
      for (let count = 0; count < 50; count += 1) slow.admit(waiting());
      assert.equal(why(slow, waiting()), 'tenant');
    }
  });

  it('is never full for a tenant that sends its first run, whatever others send', () => {
    const queue = new FairQueue<undefined>({ runs: 1_000, bytes: 1e12, perTenant: 500 });
    const given = ['a', 'b', 'c'].map((tenant) => {
      while (queue.admit(waiting({ tenant })).admitted);
      return queue.waitingOf(tenant);
    });
    assert.deepEqual(given, [500, 250, 125]);
    for (let count = 0; count < 5; count += 1) assert.equal(queue.admit(waiting({ tenant: `first-${count}` })).admitted, true);
    // Alone, one may have all that it is allowed.
    const lonely = new FairQueue<undefined>({ runs: 10, bytes: 1e12, perTenant: 10 });
    for (let count = 0; count < 10; count += 1) assert.equal(lonely.admit(waiting()).admitted, true);
    assert.equal(lonely.admit(waiting()).admitted, false);
  });

  it('tells roughly how many go before', () => {
    const queue = new FairQueue<undefined>(wide);
    const [one, two, urgent] = [waiting(), waiting(), waiting({ priority: 6 })];
    for (const run of [one, two, urgent]) queue.admit(run);
    assert.deepEqual(
      [urgent, one, two].map(({ id }) => queue.position(id)),
      [1, 2, 3],
    );
    assert.equal(queue.position('nobody'), undefined);
  });

  it('keeps nothing of tenants, shapes and requests that have left', () => {
    const queue = new FairQueue<undefined>(wide);
    const stuck = waiting({ tenant: 'stuck', shape: 'never', priority: 9 });
    queue.admit(stuck);
    const small = (when: string) => {
      const { tenants, lanes, places, deadlines } = queue.bookSizes;
      assert.ok(lanes <= queue.size, `${when}: ${lanes} lanes for ${queue.size} runs`);
      assert.ok(tenants <= 2 * (queue.size + 1_000) + 1 && deadlines <= 2 * queue.size + 1_001 && places <= 100 * queue.size + 100, when);
    };
    for (let round = 0; round < 5_000; round += 1) {
      // Each time another tenant with another shape: one is served, one cancelled, one expires unseen below the others.
      const tenant = `tenant-${round}`;
      queue.admit(waiting({ tenant, shape: `shape-${round}`, since: round }));
      const cancelled = waiting({ tenant: `${tenant}-too`, shape: `shape-${round}`, priority: 1, since: round });
      queue.admit(cancelled);
      queue.admit(waiting({ tenant: 'stuck', shape: 'never', priority: 9, since: round, deadline: round }));
      queue.remove(cancelled.id);
      assert.equal(queue.next(round, ({ shape }) => shape !== 'never')?.tenant, tenant);
      assert.equal(queue.expired(round).length, 1);
      if (round % 500 === 0) small(`round ${round}`);
    }
    small('at the end');
    assert.equal(queue.size, 1);
  });
});
