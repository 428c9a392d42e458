import assert from 'node:assert/strict';
import { KatafleetError } from '../../../src/model/errors.ts';
import { profileOf, sandboxLimits } from '../../../src/model/profile.ts';
import { type StartShape, StartWatch } from '../../../src/fleet/node/start-watch.ts';
import { fakeFleet, MiB } from '../../support/fake-fleet.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { until } from '../../support/until.ts';

const limits = sandboxLimits(profileOf({ memory: 512 * MiB }));
const shape: StartShape = { image: { name: 'any', id: 'sha256:any', volumes: [] }, limits, idleMs: 1_000 };
const rules = { failures: 3, successes: 2, flapMs: 60_000, intervalMs: 1e8, timeoutMs: 50, startMs: 120 };

/** A ready node whose engine answers pings and hangs in each create while `hangs.yes`. */
async function grey() {
  const fakes = fakeFleet(['a'], { rules });
  await fakes.fleet.open();
  const hangs = { yes: true };
  fakes.driver('a').faults = { stall: () => hangs.yes };
  const lease = () => {
    assert.ok(fakes.fleet.cluster.reserve('a', limits.memory));
    return fakes.fleet.lease('a', 'any:latest', limits, limits.memory);
  };
  return { ...fakes, hangs, lease, node: fakes.fleet.node('a') };
}

const timesOut = (error: unknown) => error instanceof KatafleetError && error.code === 'engine.timeout';

describe('an engine that answers pings and hangs in create', () => {
  it('is suspect after two starts that take too long, with a trouble in words, whatever its pings say; other starts fail at once', async () => {
    const { fleet, driver, look, summary, lease, node, events } = await grey();
    await Promise.all([assert.rejects(lease(), timesOut), assert.rejects(lease(), timesOut)]);
    assert.equal(node.state, 'suspect');
    assert.equal(await look('a', 5), 'suspect');
    assert.match(summary('a').trouble?.message ?? '', /answers and starts no sandbox: 2 starts in a row did not end within 0.12 s/);
    const { stalled } = driver('a');
    await assert.rejects(lease(), /starts no sandbox/);
    assert.ok(driver('a').stalled <= stalled + 1, 'at most a canary was started');
    assert.equal(events.filter((event) => event.startsWith('a suspect')).length, 1);
    await fleet.close();
  });

  it('is ready again when a canary has started, and keeps nothing booked', async () => {
    const { fleet, driver, lease, node, hangs, summary } = await grey();
    await Promise.all([assert.rejects(lease(), timesOut), assert.rejects(lease(), timesOut)]);
    await until(() => driver('a').stalled >= 4); // two canaries have hung too, one after another
    hangs.yes = false;
    await until(() => node.state === 'ready');
    await until(() => driver('a').containers.size === 0 && summary('a').memory.booked === 0);
    const held = await lease();
    await held.release();
    await fleet.close();
  });

  it('keeps the memory of a start that took too long booked until the node was asked for its containers', async () => {
    const { fleet, driver, lease, summary } = await grey();
    const list = driver('a').list.bind(driver('a'));
    let answer: () => void = () => undefined;
    const asked = new Promise<void>((resolve) => (answer = resolve));
    driver('a').list = () => asked.then(list);
    await assert.rejects(lease(), timesOut);
    assert.equal(summary('a').memory.booked, 512 * MiB);
    answer();
    await until(() => summary('a').memory.booked === 0);
    await fleet.close();
  });

  it('is not suspected for one late start, for refusals, or when runs are cancelled', async () => {
    const { fleet, driver, lease, node, hangs } = await grey();
    await assert.rejects(lease(), timesOut);
    hangs.yes = false;
    driver('a').faults = { failCreates: 1 };
    await assert.rejects(lease(), /told to fail/);
    driver('a').faults = { stall: () => true };
    await assert.rejects(lease(), timesOut);
    assert.equal(node.state, 'ready');
    await fleet.close();
  });
});

describe('the watch of starts', () => {
  it('tries one canary at a time, less and less often, and takes a refusal for an answer', async () => {
    const clock = new ManualClock();
    const told: string[] = [];
    let answers: Error | undefined = new KatafleetError('engine.timeout', 'late');
    let tried = 0;
    const watch = new StartWatch({
      startMs: 60_000,
      canary: () => {
        tried += 1;
        return answers ? Promise.reject(answers) : Promise.resolve();
      },
      onStuck: () => told.push('stuck'),
      onFree: () => told.push('free'),
      clock,
    });
    for (let start = 0; start < 8; start += 1) watch.late(shape);
    assert.deepEqual(told, ['stuck']);
    const at: number[] = [];
    for (let second = 1; second <= 200; second += 1) {
      const before = tried;
      await clock.pass(1);
      if (tried > before) at.push(second);
    }
    assert.deepEqual(at, [5, 15, 35, 75, 135, 195]);
    answers = new KatafleetError('image.unknown', 'no such image');
    await clock.pass(60);
    assert.deepEqual(told, ['stuck', 'free']);
    assert.equal(watch.stuck, undefined);
    watch.late(shape);
    watch.answered();
    watch.late(shape);
    assert.deepEqual(told, ['stuck', 'free']);
    watch.reset();
  });
});
