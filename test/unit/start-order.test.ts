import assert from 'node:assert/strict';
import fc from 'fast-check';
import { dispatching, jobOf } from '../support/dispatching.ts';
import { MiB } from '../support/fake-fleet.ts';
import { slots, turn } from '../support/start-slots.ts';
import { until } from '../support/until.ts';

describe('start slots of a node', () => {
  it('a run of higher priority is started next, whatever was placed before it', async () => {
    const { begun, ask, finish } = slots(4);
    for (let run = 0; run < 36; run += 1) void ask(`loud ${run}`, 'loud');
    void ask('quiet', 'quiet', 9);
    assert.equal(begun.length, 4);
    await finish();
    assert.deepEqual(begun.slice(4), ['quiet']);
  });

  it('tenants of one priority take turns, and each has its own runs started in their order', async () => {
    const { begun, ask, finish } = slots(2);
    for (let run = 0; run < 10; run += 1) void ask(`loud ${run}`, 'loud');
    for (let run = 0; run < 3; run += 1) void ask(`quiet ${run}`, 'quiet');
    for (let start = 0; start < 6; start += 1) await finish();
    const [quiet, loud] = ['quiet', 'loud'].map((tenant) => begun.filter((name) => name.startsWith(tenant)));
    assert.deepEqual(quiet, ['quiet 0', 'quiet 1', 'quiet 2']);
    assert.deepEqual(loud, ['loud 0', 'loud 1', 'loud 2', 'loud 3', 'loud 4']);
  });

  it('a run of low priority is started after a while, however many of a higher come', async () => {
    const { clock, begun, ask, finish } = slots(1);
    void ask('first', 'loud', 6);
    void ask('low', 'quiet', 5);
    for (let run = 0; run < 100 && !begun.includes('low'); run += 1) {
      void ask(`loud ${run}`, 'loud', 6);
      clock.after(1_000, () => undefined);
      await clock.run(() => true);
      await finish();
    }
    assert.ok(begun.includes('low'));
    assert.ok(begun.length > 30, 'not before it has waited');
  });

  it('refills come behind all runs', async () => {
    const { begun, ask, finish } = slots(1);
    void ask('under way', 'a');
    void ask('refill', undefined);
    void ask('run', 'a', 0);
    await finish();
    await finish();
    assert.deepEqual(begun, ['under way', 'run', 'refill']);
  });

  it('a run that is cancelled is over at once, and is not begun', async () => {
    const { begun, ask, finish } = slots(1);
    void ask('under way', 'a');
    const cancel = new AbortController();
    const cancelled = ask('cancelled', 'a', 9, cancel.signal);
    void ask('next', 'a');
    cancel.abort(new Error('changed my mind'));
    await assert.rejects(cancelled, /changed my mind/);
    await finish();
    assert.deepEqual(begun, ['under way', 'next']);
    await assert.rejects(ask('late', 'a', 5, cancel.signal), /changed my mind/);
  });

  it('a start that fails gives its slot to the next; more slots begin more', async () => {
    const { starts, begun, ask } = slots(1);
    const failing = starts.add(() => Promise.reject(new Error('no')), { tenant: 'a', priority: 5, memory: 1 });
    void ask('one', 'a');
    void ask('two', 'a');
    await assert.rejects(failing, /no/);
    await turn();
    assert.deepEqual(begun, ['one']);
    starts.concurrency = 2;
    assert.deepEqual(begun, ['one', 'two']);
  });

  it('no slot is free while anything waits, and none of a lower priority is begun before a higher', async () => {
    const step = fc.oneof(
      fc.record({ tenant: fc.constantFrom('a', 'b', 'c', undefined), priority: fc.integer({ min: 0, max: 9 }) }),
      fc.constant('finish' as const),
    );
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 4 }), fc.array(step, { maxLength: 60 }), async (concurrency, steps) => {
        const { begun, underWay, ask, finish } = slots(concurrency);
        const waiting = new Map<string, number>();
        let asked = 0;
        let over = 0;
        for (const [index, one] of steps.entries()) {
          const before = begun.length;
          if (one === 'finish') {
            over += Number(underWay.length > 0);
            await finish();
          } else {
            asked += 1;
            waiting.set(String(index), one.tenant === undefined ? -1 : one.priority);
            void ask(String(index), one.tenant, one.priority);
            await turn();
          }
          for (const name of begun.slice(before)) {
            assert.equal(waiting.get(name), Math.max(...waiting.values()));
            waiting.delete(name);
          }
          assert.equal(underWay.length, Math.min(concurrency, asked - over));
        }
      }),
      { numRuns: 50 },
    );
  });
});

describe('a burst of cold starts', () => {
  it('does not delay a run of another tenant and a higher priority by more than a start', async () => {
    const { dispatcher, driver, close } = await dispatching(['a'], { settings: { a: { starts: 4 } } });
    const create = driver('a').create.bind(driver('a'));
    const starting: (() => void)[] = [];
    driver('a').create = async (spec, signal) => {
      await new Promise<void>((resolve) => starting.push(resolve));
      return create(spec, signal);
    };
    const runs = Array.from({ length: 36 }, (_, run) =>
      dispatcher.submit(jobOf(['loud', String(run)], { memory: 128 * MiB, tenant: 'loud' })),
    );
    await until(() => dispatcher.running === 36 && starting.length === 4);
    runs.push(dispatcher.submit(jobOf(['quiet'], { memory: 128 * MiB, tenant: 'quiet', priority: 9 })));
    await until(() => dispatcher.running === 37);
    for (let start = 0; start < runs.length; start += 1) {
      await until(() => starting.length > 0);
      starting.shift()?.();
    }
    await Promise.all(runs);
    const place = driver('a').executed.indexOf('quiet');
    assert.ok(place >= 0 && place <= 5, `started as number ${place + 1} of 37`);
    await close();
  });
});
