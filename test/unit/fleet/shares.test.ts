import assert from 'node:assert/strict';
import { profileOf, sandboxLimits } from '../../../src/model/profile.ts';
import { fakeFleet, MiB } from '../../support/fake-fleet.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { until } from '../../support/until.ts';
import { PoolShares } from '../../../src/fleet/pools/shares.ts';

const limits = sandboxLimits(profileOf({ memory: 512 * MiB }));
const pool = (idle: number, most = idle) => ({ image: 'any:latest', limits, idle: { min: idle, max: most } });
const named = (count: number) => Array.from({ length: count }, (_, index) => `n${index}`);

/** A fleet of nodes that each have a part of one pool. */
function sharing(count: number, options: Parameters<typeof fakeFleet>[1] = {}) {
  const names = named(count);
  const fakes = fakeFleet(names, {
    awayMs: 60_000,
    rules: { failures: 3, successes: 1, flapMs: 60_000, intervalMs: 1e8, timeoutMs: 5_000 },
    ...options,
  });
  const idle = () => names.map((name) => fakes.summary(name).sandboxes.idle);
  return {
    ...fakes,
    names,
    idle,
    all: () => idle().reduce((sum, one) => sum + one, 0),
    created: () => names.reduce((sum, name) => sum + fakes.driver(name).created, 0),
    filled: async () => {
      await Promise.all((await fakes.fleet.retarget()).map((one) => one.filled()));
    },
  };
}

describe('the shares of a pool over a fleet', () => {
  it('are right from the first node that is ready: forty wanted are forty made', async () => {
    const { fleet, names, look, created, all, filled, idle } = sharing(20);
    fleet.want(pool(40));
    for (const name of names) {
      await look(name);
      await filled();
    }
    await until(() => all() === 40);
    assert.deepEqual([created(), new Set(idle())], [40, new Set([2])]);
    await fleet.close();
  });

  it('do not follow the free memory: a pool that nobody uses stays as it is', async () => {
    const { fleet, names, created, filled } = sharing(10);
    await fleet.open();
    fleet.want(pool(5));
    await filled();
    for (let minute = 0; minute < 60; minute += 1) {
      const booked = names.map((name, index) => [name, ((minute * 7 + index * 3) % 10) * 400 * MiB] as const);
      for (const [name, bytes] of booked) assert.ok(fleet.cluster.reserve(name, bytes));
      await filled();
      for (const [name, bytes] of booked) fleet.cluster.release(name, bytes);
    }
    assert.equal(created(), 5);
    await fleet.close();
  });

  it('are computed a few times while a fleet starts, not once for each node', async () => {
    const { fleet, names } = sharing(200, { paceMs: 1_000 });
    fleet.want(pool(0, 8));
    let asked = 0;
    for (const name of names) {
      const { sandboxes } = fleet.node(name);
      const imageId = sandboxes.imageId.bind(sandboxes);
      sandboxes.imageId = (image) => ((asked += 1), imageId(image));
    }
    for (const name of names) await fleet.node(name).check();
    await fleet.retarget();
    assert.ok(asked <= 20 * names.length, `${asked} looks at ${names.length} nodes`);
    await fleet.close();
  });

  it('move when a node is down for long, and back when it is back for long; a node that flaps moves nothing', async () => {
    const away = { failures: 1, successes: 1, flapMs: 60_000, intervalMs: 1e8, timeoutMs: 5_000 };
    const clock = new ManualClock();
    const { fleet, driver, look, idle, all, created } = sharing(4, { rules: away, clock });
    await fleet.open();
    fleet.want(pool(8));
    const distribute = async (seconds: number) => {
      await clock.pass(seconds);
      await clock.pass(1);
    };
    const retargeted = fleet.retarget();
    await distribute(1);
    await Promise.all((await retargeted).map((one) => one.filled()));
    assert.deepEqual(idle(), [2, 2, 2, 2]);
    driver('n3').faults = { unreachable: true };
    assert.equal(await look('n3', 2), 'down');
    await distribute(30);
    assert.deepEqual(idle(), [2, 2, 2, 0]);
    driver('n3').faults = {};
    await look('n3', 2);
    await until(() => all() === 8);
    await distribute(100);
    assert.deepEqual([idle(), created()], [[2, 2, 2, 2], 10], 'it has its own share again');
    driver('n3').faults = { unreachable: true };
    assert.equal(await look('n3', 2), 'down');
    await distribute(61);
    await until(() => all() === 8);
    assert.equal(idle()[3], 0);
    driver('n3').faults = {};
    await look('n3', 2);
    await distribute(30);
    assert.equal(idle()[3], 0, 'it has just come back');
    await distribute(61);
    await until(() => idle()[3] === 2);
    await distribute(2);
    await until(() => all() === 8);
    assert.deepEqual(idle(), [2, 2, 2, 2]);
    await fleet.close();
  });

  it('shrink only after the others have theirs', async () => {
    const { fleet, driver, look, idle, filled } = sharing(2, { settings: { n1: { cordoned: true } } });
    await fleet.open();
    fleet.want(pool(4));
    await filled();
    assert.deepEqual(idle(), [4, 0]);
    let open: () => void = () => undefined;
    const opened = new Promise<void>((resolve) => (open = resolve));
    const create = driver('n1').create.bind(driver('n1'));
    driver('n1').create = async (...given) => {
      await opened;
      return create(...given);
    };
    fleet.uncordon('n1');
    await fleet.retarget();
    await look('n0');
    await fleet.retarget();
    assert.deepEqual(idle(), [4, 0], 'the other has none yet');
    open();
    await until(() => idle()[1] === 2);
    await until(async () => (await fleet.retarget(), idle().join() === '2,2'));
    await fleet.close();
  });

  it('go at once when the configuration wants fewer', async () => {
    const { fleet, driver, filled, all } = sharing(2);
    await fleet.open();
    fleet.want(pool(6));
    await filled();
    driver('n1').faults = { failCreates: 1e9 };
    fleet.want(pool(2));
    await fleet.retarget();
    assert.equal(all(), 2);
    await fleet.close();
  });
});

describe('distributions of pools', () => {
  it('are at most one per second, however many nodes change', async () => {
    const clock = new ManualClock();
    const shares = new PoolShares({ members: () => [], clock });
    shares.want(pool(1));
    for (const name of named(10)) shares.add(name);
    for (let second = 0; second < 5; second += 1) {
      for (const name of named(10)) shares.moved(name, second % 2 === 0 ? 'ready' : 'suspect');
      await clock.pass(1);
    }
    assert.equal(shares.rounds, 5);
    const [one, other] = [shares.now(), shares.now()];
    await clock.pass(1);
    assert.deepEqual(await Promise.all([one, other]), [[], []]);
    assert.equal(shares.rounds, 6, 'who waits at the same time shares one');
    const last = shares.now();
    shares.close();
    assert.deepEqual([await last, await shares.now()], [[], []], 'a close lets nobody wait');
  });
});
