import assert from 'node:assert/strict';
import { once } from 'node:events';
import fc from 'fast-check';
import { labels } from '../../src/core/labels.ts';
import { Node } from '../../src/fleet/node.ts';
import { ownerIsGone, ownerOf } from '../../src/fleet/owner.ts';
import { reapReason } from '../../src/fleet/reaper.ts';
import { profileOf } from '../../src/core/profile.ts';
import { run } from '../../src/runs/runner.ts';
import { DemandMeter, poolTarget } from '../../src/scheduler/targets.ts';
import { FakeDriver } from '../support/fake-driver.ts';

const request = { image: 'x', files: [], steps: [{ argv: ['echo', 'hi'] }] };
const until = async (holds: () => boolean) => {
  while (!holds()) await new Promise((resolve) => setImmediate(resolve));
};

async function warmed(idle: number, troubles: string[] = []) {
  const driver = new FakeDriver();
  const node = new Node(driver, { onTrouble: (message) => troubles.push(message) });
  const pool = await node.pool(await node.image('x'), profileOf());
  pool.resize({ min: idle, max: idle });
  await pool.filled();
  return { driver, node, pool };
}

describe('pool targets', () => {
  it('stay within their bounds, and never shrink when demand grows', () => {
    const demand = fc.record({
      rate: fc.double({ min: 0, max: 1e4, noNaN: true }),
      replacementMs: fc.double({ min: 0, max: 1e5, noNaN: true }),
      peak: fc.nat(1e4),
    });
    fc.assert(
      fc.property(demand, fc.nat(50), fc.nat(200), (seen, min, more) => {
        const bounds = { min, max: min + more };
        const target = poolTarget(seen, bounds);
        assert.ok(target >= bounds.min && target <= bounds.max);
        assert.ok(poolTarget({ ...seen, rate: seen.rate * 2 }, bounds) >= target);
      }),
    );
  });

  it('grow with demand and fade without it', () => {
    const meter = new DemandMeter(10_000);
    for (let at = 0; at < 10_000; at += 50) meter.taken(at, 6);
    const busy = poolTarget({ ...meter.at(10_000), replacementMs: 300 }, { min: 0, max: 100 });
    assert.ok(busy >= 2 && busy <= 12, String(busy));
    assert.equal(poolTarget({ ...meter.at(300_000), replacementMs: 300 }, { min: 0, max: 100 }), 0);
  });
});

describe('warm pool', () => {
  it('serves from what is idle, and refills behind it', async () => {
    const { driver, node, pool } = await warmed(2);
    const result = await run(node, request);
    assert.deepEqual([result.warm, result.steps[0]?.stdout.toString()], [true, 'echo hi']);
    await pool.filled();
    assert.equal(driver.created, 3);
    await until(() => driver.containers.size === 2);
    await node.close();
    assert.equal(driver.containers.size, 0);
  });

  it('takes the cold path at once when it is empty', async () => {
    const node = new Node(new FakeDriver());
    assert.equal((await run(node, request)).warm, false);
    await node.close();
  });

  it('notices a sandbox that died idle, and replaces it', async () => {
    const { driver, node, pool } = await warmed(2);
    const [first] = driver.containers.values();
    first?.end.destroy();
    await until(() => driver.created === 3 && pool.idle === 2);
    await node.close();
  });

  it('a run whose idle sandbox turns out dead gets another', async () => {
    const { driver, node } = await warmed(1);
    driver.faults = { dieOnOpen: 1 };
    assert.equal((await run(node, request)).outcome.kind, 'exited');
    await node.close();
  });

  it('goes on trying when the engine fails, and says so', async () => {
    const troubles: string[] = [];
    const { driver, node, pool } = await warmed(0, troubles);
    driver.faults = { failCreates: 2 };
    pool.resize({ min: 1, max: 1 });
    await pool.filled();
    assert.match(troubles.join(), /told to fail/);
    await node.close();
  });

  it('shrinks, and keeps nothing when it is closed', async () => {
    const { driver, node, pool } = await warmed(5);
    pool.resize({ min: 1, max: 1 });
    await until(() => driver.containers.size === 1);
    await node.close();
    assert.equal(driver.containers.size, 0);
  });
});

describe('reaper', () => {
  const container = (own: Record<string, string>) => ({ id: 'x', running: true, labels: own });

  it('gives up what is past its deadline or whose maker is gone, and nothing else', () => {
    const view = { now: 1000, fleet: 'mine', inUse: new Set(['mine/2']), gone: (owner: string) => owner === 'dead' };
    const why = (own: Record<string, string>) => reapReason(container(own), view);
    assert.equal(why({ [labels.deadline]: '1001' }), undefined);
    assert.match(why({ [labels.deadline]: '999' }) ?? '', /deadline/);
    assert.match(why({ [labels.deadline]: '9999', [labels.owner]: 'dead' }) ?? '', /gone/);
    assert.equal(why({ [labels.sandbox]: 'another/1' }), undefined);
    assert.equal(why({ [labels.sandbox]: 'mine/2' }), undefined);
    assert.match(why({ [labels.sandbox]: 'mine/1' }) ?? '', /given it up/);
    assert.equal(why({}), undefined);
  });

  it('knows a living process from a dead one, and leaves other machines’ alone', async function () {
    const self = ownerOf('self');
    if (self === undefined) return this.skip();
    assert.equal(ownerIsGone(self), false);
    const { spawn } = await import('node:child_process');
    const child = spawn('sleep', ['60']);
    await once(child, 'spawn');
    const owner = ownerOf(child.pid ?? 0) ?? '';
    assert.equal(ownerIsGone(owner), false);
    child.kill('SIGKILL');
    await once(child, 'exit');
    assert.equal(ownerIsGone(owner), true);
    assert.equal(ownerIsGone(owner.replace(/^[^/]+/, 'another-boot')), false);
  });
});
