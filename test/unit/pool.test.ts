import assert from 'node:assert/strict';
import { once } from 'node:events';
import fc from 'fast-check';
import { labels } from '../../src/model/labels.ts';
import { NodeSandboxes } from '../../src/fleet/node/sandboxes.ts';
import { ownerIsGone, ownerOf } from '../../src/base/process-owner.ts';
import { WarmPool } from '../../src/fleet/pools/pool.ts';
import { reapReason } from '../../src/fleet/upkeep/reaper.ts';
import { Starts } from '../../src/fleet/pools/starts.ts';
import { profileOf, sandboxLimits } from '../../src/model/profile.ts';
import { checkJob } from '../../src/runs/job.ts';
import { attempt } from '../../src/runs/attempt/runner.ts';
import { DemandMeter, poolTarget } from '../../src/scheduler/targets.ts';
import { VirtualClock } from '../simulation/clock.ts';
import { FakeDriver } from '../support/fake-driver.ts';
import { until } from '../support/until.ts';

const request = { image: 'x', files: [], steps: [{ argv: ['echo', 'hi'] }] };

const limits = sandboxLimits(profileOf());
const MiB = 1024 ** 2;
const claim = { tenant: 'default', priority: 5, memory: limits.memory };

/** A node on the fake driver, with books of its own. */
function testNode(troubles: string[] = []) {
  const driver = new FakeDriver();
  const books = { booked: 0, most: 8 * 1024 * MiB };
  const node = new NodeSandboxes(driver, {
    idleMemory: 16 * MiB,
    books: {
      reserve: (bytes) => {
        if (books.booked + bytes > books.most) return false;
        books.booked += bytes;
        return true;
      },
      release: (bytes) => {
        books.booked -= bytes;
        assert.ok(books.booked >= 0, 'no more is given back than was booked');
      },
    },
    onTrouble: (message) => troubles.push(message),
  });
  return { driver, node, books };
}

async function warmed(idle: number, troubles: string[] = []) {
  const parts = testNode(troubles);
  const pool = await parts.node.target('x', limits, { min: idle, max: idle });
  await pool.filled();
  return { ...parts, pool };
}

/** A run as the dispatcher makes it on a node that it chose. */
async function run({ node, books }: Pick<ReturnType<typeof testNode>, 'node' | 'books'>) {
  const job = checkJob({ ...request, image: 'x' });
  const granted = node.idleOf('x', limits) > 0 ? limits.memory - 16 * MiB : limits.memory;
  books.booked += granted;
  const lease = await node.lease('x', limits, granted);
  try {
    return { warm: lease.warm, tried: await attempt(lease, job) };
  } finally {
    await lease.release();
  }
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
  it('serves from what is idle, refills behind it, and its books close at zero', async () => {
    const parts = await warmed(2);
    const { driver, node, pool, books } = parts;
    assert.equal(books.booked, 32 * MiB);
    const { warm, tried } = await run(parts);
    assert.deepEqual([warm, tried.kind === 'done' && tried.result.steps[0]?.stdout.toString()], [true, 'echo hi']);
    await pool.filled();
    assert.equal(driver.created, 3);
    await until(() => driver.containers.size === 2);
    await node.close();
    assert.deepEqual([driver.containers.size, books.booked], [0, 0]);
  });

  it('takes the cold path at once when it is empty', async () => {
    const parts = testNode();
    assert.equal((await run(parts)).warm, false);
    await parts.node.close();
    assert.equal(parts.books.booked, 0);
  });

  it('keeps memory booked until a removal is confirmed', async () => {
    const parts = await warmed(0);
    const { driver, node, books } = parts;
    books.booked += limits.memory;
    const lease = await node.lease('x', limits, limits.memory);
    driver.faults = { failRemoves: true };
    await assert.rejects(lease.release());
    assert.equal(books.booked, limits.memory, 'the container may still be there');
    driver.faults = {};
    assert.match((await node.reap()).map(({ why }) => why).join(), /given it up/);
    assert.deepEqual([books.booked, driver.containers.size], [0, 0]);
    await node.close();
  });

  it('a lost node keeps nothing idle, breaks what runs, and fills again when it is back', async () => {
    const parts = await warmed(2);
    const { driver, node, pool, books } = parts;
    books.booked += limits.memory;
    const lease = await node.lease('x', limits, limits.memory);
    node.suspend();
    assert.deepEqual([lease.sandbox.stream.destroyed, pool.idle], [true, 0]);
    await lease.release();
    await node.reconcile();
    await until(() => pool.idle === 2);
    assert.equal(books.booked, 32 * MiB);
    await node.close();
    assert.deepEqual([driver.containers.size, books.booked], [0, 0]);
  });

  it('a supervisor that never greets holds up neither a run that is cancelled, nor a lost node, nor the end', async () => {
    const { driver, node, pool, books } = await warmed(0);
    driver.faults = { mute: true };
    const made = (count: number) => until(() => driver.created === count);
    const lease = (signal?: AbortSignal) => {
      books.booked += limits.memory;
      return node.lease('x', limits, limits.memory, signal);
    };
    const cancel = new AbortController();
    const cancelled = assert.rejects(lease(cancel.signal), /abort/);
    await made(1);
    cancel.abort();
    await cancelled;
    await until(() => books.booked === 0);
    const lost = assert.rejects(lease(), /stream/);
    await made(2);
    node.suspend();
    await lost;
    await assert.rejects(lease(), { code: 'node.lost' });
    await node.reconcile();
    pool.resize({ min: 1, max: 1 });
    await made(3);
    await node.close();
    assert.deepEqual([driver.containers.size, books.booked], [0, 0]);
  });

  it('notices a sandbox that died idle, and replaces it', async () => {
    const { driver, node, pool } = await warmed(2);
    const [first] = driver.containers.values();
    first?.end.destroy();
    await until(() => driver.created === 3 && pool.idle === 2);
    await node.close();
  });

  it('tells a sandbox that was dead before its command began', async () => {
    const parts = await warmed(1);
    parts.driver.faults = { dieOnOpen: 1 };
    const { tried } = await run(parts);
    assert.deepEqual(tried.kind === 'lost' && tried.started, false);
    await parts.node.close();
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

  it('one that does not come has its turn, and then keeps no other waiting; a run is over at once when it is cancelled', async () => {
    const clock = new VirtualClock();
    const driver = new FakeDriver();
    const name = { made: 0 };
    const pool = new WarmPool({
      min: 2,
      max: 2,
      clock,
      turnMs: 1_000,
      starts: new Starts(1),
      create: (signal) => {
        const image = { name: 'x', id: 'x', volumes: [] };
        return driver.create({ name: String((name.made += 1)), image, limits, labels: {}, idleMs: 1 }, signal);
      },
      remove: (sandbox) => sandbox.remove(),
    });
    driver.faults = { stall: ({ name }) => name === '1' || name === '3' };
    await until(() => driver.stalled === 1);
    const cancel = new AbortController();
    const run = pool.acquire(claim);
    const cancelled = pool.acquire(claim, { signal: cancel.signal });
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(name.made, 1, 'one at a time');
    await clock.run(() => name.made === 3);
    assert.equal((await run).warm, false, 'it went ahead of the other refill');
    cancel.abort(new Error('changed my mind'));
    await assert.rejects(cancelled, /changed my mind/);
    await until(() => pool.idle === 1);
    await pool.release(await run);
    await pool.close();
    assert.equal(driver.containers.size, 0);
  });

  it('gives way: what matches goes, what is being started is broken off, and nothing is started for a while', async () => {
    const clock = new VirtualClock();
    const driver = new FakeDriver();
    const troubles: string[] = [];
    const image = { name: 'x', id: 'x', volumes: [] };
    const pool = new WarmPool({
      min: 3,
      max: 3,
      clock,
      starts: new Starts(3),
      create: (signal) => driver.create({ name: `s${driver.created}`, image, limits, labels: {}, idleMs: 1 }, signal),
      remove: (sandbox) => sandbox.remove(),
      onTrouble: (message) => troubles.push(message),
    });
    driver.faults = { stall: () => driver.created === 2 };
    await until(() => pool.idle === 2 && driver.stalled === 1);
    await pool.dismiss(({ id }) => id === 'c1', 5_000);
    assert.deepEqual([...driver.containers.keys(), pool.idle], ['c2', 1]);
    driver.faults = {};
    await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual([driver.created, troubles], [2, []], 'nothing went wrong, and nothing is made');
    await clock.run(() => pool.idle === 3);
    assert.equal(pool.idle, 3, 'the one that was broken off is made again');
    assert.ok(clock.now() >= 5_000);
    await pool.close();
  });

  it('shrinks, and keeps nothing when it is closed', async () => {
    const { driver, node, pool } = await warmed(5);
    pool.resize({ min: 1, max: 1 });
    await until(() => driver.containers.size === 1);
    await node.close();
    assert.equal(driver.containers.size, 0);
  });
});

describe('a machine on which a sandbox broke off under its run', () => {
  it('gives the next run none of its others, while another machine has one', async () => {
    const { driver, node, books } = testNode();
    const create = driver.create.bind(driver);
    const machines = ['a', 'a', 'b', 'a'];
    driver.create = async (...given) => Object.assign(await create(...given), { node: machines.shift() ?? 'a' });
    const pool = await node.target('x', limits, { min: 4, max: 4 });
    await pool.filled();
    const lease = () => {
      books.booked += limits.memory - 16 * MiB;
      return node.lease('x', limits, limits.memory - 16 * MiB);
    };
    const first = await lease();
    assert.equal(first.sandbox.node, 'a');
    first.sandbox.stream.destroy();
    await first.sandbox.closed;
    const [second, third] = [await lease(), await lease()];
    assert.deepEqual([second.sandbox.node, third.sandbox.node, third.warm], ['b', 'a', true]);
    await Promise.all([first, second, third].map((one) => one.release()));
    await node.close();
    assert.equal(books.booked, 0);
  });

  it('does not count as broken if the sandbox ended after its run', async () => {
    const { driver, node, books } = testNode();
    const create = driver.create.bind(driver);
    const machines = ['a', 'a', 'b'];
    driver.create = async (...given) => Object.assign(await create(...given), { node: machines.shift() ?? 'a' });
    const pool = await node.target('x', limits, { min: 3, max: 3 });
    await pool.filled();
    await run({ node, books });
    books.booked += limits.memory - 16 * MiB;
    const lease = await node.lease('x', limits, limits.memory - 16 * MiB);
    assert.equal(lease.sandbox.node, 'a');
    await lease.release();
    await node.close();
  });
});

describe('reaper', () => {
  const container = (own: Record<string, string>) => ({ id: 'x', running: true, labels: own });

  it('gives up what its owner has given up or whose maker is gone, and nothing else', () => {
    const view = { now: 1000, fleet: 'mine', inUse: new Set(['mine/2']), gone: (owner: string) => owner === 'dead' };
    const why = (own: Record<string, string>) => reapReason(container(own), view);
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
