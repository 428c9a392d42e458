import assert from 'node:assert/strict';
import { KatafleetError } from '../../../src/model/errors.ts';
import { labels } from '../../../src/model/labels.ts';
import { profileOf, sandboxLimits } from '../../../src/model/profile.ts';
import { Removals } from '../../../src/fleet/node/removals.ts';
import { fakeFleet, MiB } from '../../support/fake-fleet.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { until } from '../../support/until.ts';

const earlier = { [labels.role]: 'sandbox', [labels.fleet]: 'j', [labels.epoch]: '4', [labels.memory]: String(700 * MiB) };
const journal = { identity: 'j', epoch: 5 };
const stuck = new KatafleetError('engine.failed', 'could not kill: tried to kill container, but did not receive an exit event');

describe('a container that the engine can’t remove', () => {
  it('does not keep its node away: it is reported once, and its memory is booked until it is gone', async () => {
    const { fleet, driver, look, summary, troubles } = fakeFleet(['a'], { journal });
    driver('a').plant('old', { ...earlier, [labels.sandbox]: 'before/1' });
    const { containers } = driver('a');
    driver('a').remove = () => Promise.reject(stuck);
    assert.equal(await look('a'), 'ready');
    const whole = summary('a').memory.bookable;
    assert.equal(whole - summary('a').memory.free, 700 * MiB);
    await fleet.node('a').sandboxes.reap();
    assert.deepEqual(
      troubles.filter((line) => line.includes('the container old stays: could not kill')),
      ['a: the container old stays: could not kill: tried to kill container, but did not receive an exit event'],
    );
    driver('a').remove = (id) => Promise.resolve(void containers.delete(id));
    await fleet.node('a').sandboxes.reap();
    assert.deepEqual([containers.size, summary('a').memory.free], [0, whole]);
    await fleet.close();
  });

  it('is no trouble if it has ended, and takes no memory', async () => {
    const { fleet, driver, look, summary, troubles } = fakeFleet(['a'], { journal });
    driver('a').plant('old', earlier, false);
    driver('a').remove = () => Promise.reject(new KatafleetError('engine.failed', 'device or resource busy'));
    assert.equal(await look('a'), 'ready');
    assert.ok(troubles.some((line) => /old stays: device or resource busy/.test(line)));
    assert.equal(summary('a').memory.free, summary('a').memory.bookable);
    await fleet.close();
  });
});

describe('the trouble of a node', () => {
  it('is shown until the node is ready, also at the looks that go well before that', async () => {
    const { fleet, driver, look, summary } = fakeFleet(['a']);
    await look('a');
    driver('a').faults = { unreachable: true };
    assert.equal(await look('a', 3), 'down');
    driver('a').faults = {};
    assert.equal(await look('a'), 'down');
    assert.match(summary('a').trouble?.message ?? '', /told not to answer/);
    assert.equal(await look('a'), 'ready');
    assert.equal(summary('a').trouble, undefined);
    await fleet.close();
  });
});

describe('the removals on a node', () => {
  it('are eight at once, however many containers an earlier katafleet left', async () => {
    const { fleet, driver, look } = fakeFleet(['a'], { journal });
    for (let one = 0; one < 100; one += 1) driver('a').plant(`old${one}`, earlier);
    const { containers } = driver('a');
    let [now, most] = [0, 0];
    driver('a').remove = async (id) => {
      most = Math.max(most, (now += 1));
      await new Promise((resolve) => setImmediate(resolve));
      now -= 1;
      containers.delete(id);
    };
    assert.equal(await look('a'), 'ready');
    assert.deepEqual([most, containers.size], [8, 0]);
    await fleet.close();
  });

  it('are eight at once when a pool of many idle sandboxes is emptied', async () => {
    const { fleet, driver, look } = fakeFleet(['a']);
    await look('a');

    const limits = sandboxLimits(profileOf({ memory: 64 * MiB }));
    const { sandboxes } = fleet.node('a');
    const pool = await sandboxes.target('any:latest', limits, { min: 40, max: 40 });
    await pool.filled();
    let [now, most] = [0, 0];
    for (const sandbox of pool.sandboxes) {
      const remove = sandbox.remove.bind(sandbox);
      sandbox.remove = async () => {
        most = Math.max(most, (now += 1));
        await new Promise((resolve) => setImmediate(resolve));
        now -= 1;
        await remove();
      };
    }
    sandboxes.empty(true);
    await until(() => driver('a').containers.size === 0);
    assert.equal(most, 8);
    await fleet.close();
  });

  it('are as many as its driver starts at once, if those are more: a swarm has several machines', async () => {
    const { fleet, driver, look } = fakeFleet(['a'], { journal });
    driver('a').starts = 64;
    await look('a'); // the driver may be chosen only now
    for (let one = 0; one < 100; one += 1) driver('a').plant(`old${one}`, earlier);
    const { containers } = driver('a');
    let [now, most] = [0, 0];
    driver('a').remove = async (id) => {
      most = Math.max(most, (now += 1));
      await new Promise((resolve) => setImmediate(resolve));
      now -= 1;
      containers.delete(id);
    };
    await fleet.node('a').sandboxes.reap();
    assert.equal(most, 64);
    await fleet.close();
  });

  it('do those of ended runs first, and one that hangs gives its place to the next', async () => {
    const clock = new ManualClock();
    const removals = new Removals(clock);
    const begun: string[] = [];
    const remove = (name: string, order: 'first' | 'last', hangs = false) =>
      removals.do(() => {
        begun.push(name);
        return hangs ? new Promise(() => undefined) : Promise.resolve();
      }, order);
    for (let one = 0; one < 8; one += 1) void remove(`hangs${one}`, 'last', true);
    const leftover = remove('leftover', 'last');
    const run = remove('run', 'first');
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(begun.length, 8);
    clock.jump(20_000);
    await Promise.all([leftover, run]);
    assert.deepEqual(begun.slice(8), ['run', 'leftover']);
  });
});
