import assert from 'node:assert/strict';
import fc from 'fast-check';
import { GiB, MiB } from '../../src/base/units.ts';
import { dispatching, jobOf } from '../support/dispatching.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { nodeName } from '../support/cluster.ts';
import { scheduling } from '../support/scheduling.ts';
import { slots } from '../support/start-slots.ts';
import { until } from '../support/until.ts';

const tenants = ['a', 'b', 'c'];

describe('the order of runs up to the start slots of their node', () => {
  it('tenants whose runs wait there are started with the same memory, and each tenant’s runs in their order', async () => {
    const run = fc.record({ tenant: fc.constantFrom(...tenants), size: fc.constantFrom(128, 512, 2048) });
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 3 }), fc.array(run, { minLength: 20, maxLength: 60 }), async (concurrency, runs) => {
        const { begun, underWay, ask, finish } = slots(concurrency);
        for (const [index, { tenant, size }] of runs.entries()) void ask(`${index}`, tenant, 5, undefined, size * MiB);
        const given = new Map(tenants.map((tenant) => [tenant, 0]));
        let counted = 0;
        while (underWay.length > 0) {
          for (const name of begun.slice(counted)) {
            const { tenant, size } = runs[Number(name)] ?? assert.fail();
            // The first starts go to those who came first, before others waited.
            if (counted >= concurrency) given.set(tenant, (given.get(tenant) ?? 0) + size * MiB);
            counted += 1;
          }
          const backlogged = tenants.filter((tenant) => runs.some((one, index) => one.tenant === tenant && !begun.includes(`${index}`)));
          const shares = backlogged.map((tenant) => given.get(tenant) ?? 0);
          // Start-time fair queueing: what two tenants have been given differs by one run of each at most, and what the first starts were.
          const most = (2 + concurrency) * 2 * GiB;
          assert.ok(Math.max(...shares) - Math.min(...shares) <= most || shares.length < 2, shares.join(', '));
          await finish();
        }
        for (const tenant of tenants) {
          const order = begun.filter((name) => runs[Number(name)]?.tenant === tenant).map(Number);
          assert.deepEqual(
            order,
            order.toSorted((a, b) => a - b),
          );
        }
      }),
      { numRuns: 50 },
    );
  });

  it('a run that has risen in the queue is placed with its level', () => {
    const { cluster, scheduler, submit } = scheduling(1, 1024 * MiB);
    cluster.reserve(nodeName(0), 1024 * MiB);
    submit(512, { priority: 2, tenant: 'patient' });
    for (let now = 0; now <= 95_000; now += 1_000) assert.equal(scheduler.next(now), undefined);
    cluster.release(nodeName(0), 1024 * MiB);
    assert.equal(scheduler.next(95_100)?.level, 5);
  });

  it('a run that has risen in the queue is started before placed runs of a priority below its level', async () => {
    const clock = new ManualClock();
    const { fleet, dispatcher, driver, close } = await dispatching(['a'], { settings: { a: { starts: 1 } }, clock });
    const create = driver('a').create.bind(driver('a'));
    const starting: (() => void)[] = [];
    const taken = (fleet.cluster.node('a')?.memory ?? 0) - 100 * MiB;
    assert.ok(fleet.cluster.reserve('a', taken));
    driver('a').create = async (spec, signal) => {
      await new Promise<void>((resolve) => starting.push(resolve));
      return create(spec, signal);
    };
    const patient = dispatcher.submit(jobOf(['patient'], { memory: 512 * MiB, priority: 0, tenant: 'patient', queueMs: 3_600_000 }));
    await until(() => dispatcher.waiting === 1);
    await clock.pass(130); // four levels
    const others = [1, 2, 3, 9].map((priority) =>
      dispatcher.submit(jobOf([`priority ${priority}`], { memory: 512 * MiB, priority, tenant: `p${priority}`, queueMs: 3_600_000 })),
    );
    await until(() => dispatcher.waiting === 5);
    fleet.cluster.release('a', taken);
    for (let start = 0; start < 5; start += 1) {
      while (starting.length === 0) await clock.pass(1);
      starting.shift()?.();
    }
    await Promise.all([patient, ...others]);
    assert.deepEqual(driver('a').executed, ['priority 9', 'patient', 'priority 3', 'priority 2', 'priority 1']);
    await close();
  });
});
