import assert from 'node:assert/strict';
import { profileOf, sandboxLimits } from '../../src/model/profile.ts';
import { dispatching, jobOf } from '../support/dispatching.ts';
import { MiB } from '../support/fake-fleet.ts';
import { until } from '../support/until.ts';

const sessions = { most: 10, perTenant: 10, idleMs: 3_600_000, ageMs: 3_600_000, memory: 1 };
const queueMs = 30_000;

describe('a run that fits only if something gives way', () => {
  it('starts, although a configured pool keeps idle sandboxes on the only node, and so do others after it', async () => {
    const { fleet, dispatcher, close } = await dispatching(['a']);
    fleet.want({ image: 'any:latest', limits: sandboxLimits(profileOf({})), idle: { min: 2, max: 2 } });
    for (const pool of await fleet.retarget()) await pool.filled();
    const memory = fleet.cluster.node('a')?.memory ?? assert.fail();
    const big = dispatcher.submit(jobOf(['echo', 'big'], { memory, queueMs, tenant: 'big' }));
    const small = Array.from({ length: 3 }, () => dispatcher.submit(jobOf(['echo', 'small'], { queueMs, tenant: 'other' })));
    assert.equal((await big).outcome.kind, 'exited');
    for (const run of small) assert.equal((await run).outcome.kind, 'exited');
    await close();
  });

  it('gets the memory only when the engine has confirmed the removals', async () => {
    const { fleet, dispatcher, driver, close } = await dispatching(['a']);
    const confirm: (() => void)[] = [];
    const create = driver('a').create.bind(driver('a'));
    driver('a').create = async (spec, signal) => {
      const sandbox = await create(spec, signal);
      const remove = async () => {
        await new Promise<void>((resolve) => confirm.push(resolve));
        await sandbox.remove();
      };
      return { ...sandbox, remove };
    };
    fleet.want({ image: 'any:latest', limits: sandboxLimits(profileOf({})), idle: { min: 2, max: 2 } });
    for (const pool of await fleet.retarget()) await pool.filled();
    driver('a').create = create;
    const memory = fleet.cluster.node('a')?.memory ?? assert.fail();
    const big = dispatcher.submit(jobOf(['echo', 'big'], { memory, queueMs }));
    await until(() => confirm.length === 2);
    assert.equal(fleet.cluster.node('a')?.booked, 2 * 16 * MiB);
    assert.deepEqual(driver('a').executed, []);
    for (const one of confirm) one();
    assert.equal((await big).outcome.kind, 'exited');
    await close();
  });

  it('starts, although sessions keep sandboxes on the only node: only as many are given up as it needs', async () => {
    const { fleet, dispatcher, close } = await dispatching(['a'], { sessions });
    const memory = fleet.cluster.node('a')?.memory ?? assert.fail();
    for (const session of ['s', 't', 'u']) {
      const job = jobOf(['echo', session], { memory: 1024 * MiB, queueMs });
      await dispatcher.submit({ ...job, request: { ...job.request, session } });
    }
    assert.equal(fleet.cluster.node('a')?.gives, 3 * 1024 * MiB);
    await dispatcher.submit(jobOf(['echo', 'big'], { memory: memory - 1024 * MiB - 1, queueMs }));
    assert.equal(fleet.cluster.node('a')?.gives, 1024 * MiB);
    await dispatcher.close();
    await close();
  });
});

describe('a run of a high priority', () => {
  it('starts at once on a node that is held for one of a low priority', async () => {
    const { fleet, dispatcher, driver, close } = await dispatching(['a']);
    const memory = fleet.cluster.node('a')?.memory ?? assert.fail();
    const long = dispatcher.submit(jobOf(['hold'], { memory: 1024 * MiB }));
    await until(() => driver('a').holding === 1);
    const big = dispatcher.submit(jobOf(['echo', 'big'], { memory: memory - 512 * MiB, priority: 0, tenant: 'low', queueMs }));
    await until(() => fleet.cluster.node('a')?.heldFor !== undefined);
    const urgent = Array.from({ length: 5 }, () => dispatcher.submit(jobOf(['echo', 'urgent'], { priority: 9, tenant: 'vip', queueMs })));
    for (const run of urgent) assert.equal((await run).outcome.kind, 'exited');
    driver('a').letGo();
    await Promise.all([long, big]);
    assert.equal(driver('a').executed.at(-1), 'echo big');
    await close();
  });
});
