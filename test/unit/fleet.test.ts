import assert from 'node:assert/strict';
import { KatafleetError } from '../../src/model/errors.ts';
import { labels } from '../../src/model/labels.ts';
import { profileOf, sandboxLimits } from '../../src/model/profile.ts';
import { fakeFingerprint } from '../support/fake-driver.ts';
import { fakeFleet, imageOf, MiB } from '../support/fake-fleet.ts';
import { until } from '../support/until.ts';

const limits = sandboxLimits(profileOf({ memory: 512 * MiB }));
const wanted = { image: 'any:latest', pool: 'p', memory: 512 * MiB, cpus: 1, idleMemory: 16 * MiB, constraints: [] };

describe('a node of the fleet', () => {
  it('is probing until it was asked, then ready, with what was found and booked', async () => {
    const { fleet, look, summary, events } = fakeFleet(['a'], { settings: { a: { reserve: { share: 0.25 }, labels: { zone: 'x' } } } });
    assert.deepEqual([summary('a').state, summary('a').why, summary('a').lastSeen], ['probing', 'not probed yet', undefined]);
    assert.equal(await look('a'), 'ready');
    const { lastSeen, ...found } = summary('a');
    assert.ok(lastSeen !== undefined && lastSeen <= Date.now());
    assert.deepEqual(found, {
      name: 'a',
      endpoint: 'fake://a',
      state: 'ready',
      cordoned: 'no',
      driver: 'engine',
      why: 'API 1.41; not swarm: in no swarm',
      labels: { zone: 'x' },
      engine: '0',
      api: '1.41',
      architecture: 'amd64',
      kernel: 'none',
      cgroup: '1',
      swarm: 'inactive',
      storage: 'none',
      runtimes: ['none'],
      enforces: ['memory', 'swap', 'pids', 'cpu'],
      cpus: 4,
      memory: { total: 8192 * MiB, bookable: 6144 * MiB, booked: 0, free: 6144 * MiB },
      sandboxes: { idle: 0, busy: 0 },
      images: 1,
      clockSkewMs: 0,
    });
    assert.deepEqual(events, ['a ready: was probing']);
    await fleet.close();
  });

  it('becomes suspect and then down if it falls silent, and loses its runs; when it is back, it is reconciled before use', async () => {
    const { fleet, driver, look, summary, events } = fakeFleet(['a']);
    await look('a');
    assert.ok(fleet.cluster.reserve('a', limits.memory));
    const lease = await fleet.lease('a', 'any:latest', limits, limits.memory);
    driver('a').faults = { unreachable: true };
    assert.equal(await look('a'), 'suspect');
    assert.deepEqual([lease.lost.aborted, fleet.explain(wanted)[0]?.kind], [false, 'passed_over'], 'what runs goes on, nothing new comes');
    assert.equal(await look('a', 2), 'down');
    assert.ok(lease.lost.aborted && lease.sandbox.stream.destroyed);
    assert.match(summary('a').trouble?.message ?? '', /told not to answer/);
    driver('a').plant('stray', { [labels.role]: 'sandbox', [labels.deadline]: '1' });
    driver('a').faults = {};
    assert.equal(await look('a'), 'down');
    assert.ok(driver('a').containers.has('stray'), 'it is not reconciled before it has proved itself');
    assert.equal(await look('a'), 'ready');
    assert.deepEqual([driver('a').containers.has('stray'), summary('a').trouble], [false, undefined]);
    assert.deepEqual(events, ['a ready: was probing', 'a suspect: told not to answer', 'a down: told not to answer', 'a ready: was down']);
    await lease.release();
    await fleet.close();
    assert.equal(fleet.cluster.node('a')?.booked, 0);
  });

  it('is not used if it can’t be reconciled', async () => {
    const { fleet, driver, look, summary } = fakeFleet(['a']);
    driver('a').plant('stray', { [labels.role]: 'sandbox', [labels.deadline]: '1' });
    driver('a').remove = () => Promise.reject(new KatafleetError('engine.unreachable', 'gone again'));
    assert.equal(await look('a'), 'down');
    assert.match(summary('a').trouble?.message ?? '', /gone again/);
    await fleet.close();
  });

  it('blocks neither other nodes nor the close if it takes calls and never answers', async () => {
    const { fleet, driver, summary } = fakeFleet(['a', 'stuck', 'b']);
    driver('stuck').faults = { hang: true };
    await fleet.open();
    assert.deepEqual([summary('a').state, summary('stuck').state, summary('b').state], ['ready', 'down', 'ready']);
    assert.match(summary('stuck').trouble?.message ?? '', /fake:\/\/stuck takes the call and does not answer within 100 ms/);
    assert.ok(fleet.mayBecomeReady);
    await fleet.close();
  });

  it('becomes suspect and then down by its timeout if it hangs later', async () => {
    const { fleet, driver, look, summary } = fakeFleet(['a']);
    await look('a');
    driver('a').faults = { hang: true };
    assert.equal(await look('a', 3), 'down');
    assert.equal(summary('a').trouble?.code, 'engine.timeout');
    await fleet.close();
  });

  for (const code of ['engine.too_old', 'engine.permission'] as const) {
    it(`is unusable if its engine reports ${code}, and is asked again`, async () => {
      const { fleet, driver, look, summary } = fakeFleet(['a']);
      driver('a').faults = { probeError: new KatafleetError(code, 'Docker 1.6.2 says no') };
      assert.equal(await look('a'), 'unusable');
      assert.deepEqual([summary('a').trouble?.code, fleet.mayBecomeReady], [code, false]);
      driver('a').faults = {};
      assert.equal(await look('a'), 'ready');
      await fleet.close();
    });
  }

  it('without memory limits is unusable, unless its configuration lets it serve', async () => {
    const { fleet, driver, look, summary } = fakeFleet(['a', 'b'], { settings: { b: { withoutMemoryLimits: true } } });
    const enforces = { ...fakeFingerprint.enforces, memory: false };
    for (const name of ['a', 'b']) driver(name).fingerprint = { ...fakeFingerprint, enforces };
    assert.deepEqual([await look('a'), await look('b')], ['unusable', 'ready']);
    assert.match(summary('a').trouble?.hint ?? '', /withoutMemoryLimits/);
    driver('a').faults = { unreachable: true };
    assert.equal(await look('a'), 'down');
    driver('a').faults = {};
    assert.equal(await look('a', 3), 'unusable', 'a moment of silence makes it no better');
    await fleet.close();
  });

  it('is unusable if no driver can serve it, and tells what each driver lacks', async () => {
    const { fleet, look, summary } = fakeFleet(['a'], { settings: { a: { driver: 'swarm' } } });
    assert.equal(await look('a'), 'unusable');
    assert.match(summary('a').trouble?.message ?? '', /no driver serves fake:\/\/a: the configuration wants swarm: in no swarm/);
    await fleet.close();
  });

  it('looks at the same time are one', async () => {
    const { fleet, driver } = fakeFleet(['a', 'b']);
    await fleet.node('a').check();
    const node = fleet.node('b');
    await Promise.all([node.check(), node.check(), node.check()]);
    assert.equal(driver('b').probes, driver('a').probes);
    await fleet.close();
  });

  it('if its name is unknown, the error lists the existing nodes', () => {
    const { fleet } = fakeFleet(['a', 'b']);
    assert.throws(
      () => fleet.node('c'),
      (error) => error instanceof KatafleetError && error.code === 'node.unknown' && /a, b/.test(error.message),
    );
  });
});

describe('cordon and drain', () => {
  it('a cordoned node gets nothing new and keeps what it has; uncordoned it is used again', async () => {
    const { fleet, look, summary, events } = fakeFleet(['a']);
    await look('a');
    let room = 0;
    fleet.onRoom(() => (room += 1));
    fleet.cordon('a');
    assert.deepEqual([summary('a').cordoned, fleet.explain(wanted)[0]?.kind, room], ['cordoned', 'passed_over', 0]);
    fleet.uncordon('a');
    assert.deepEqual([summary('a').cordoned, fleet.explain(wanted)[0]?.kind], ['no', 'passes']);
    assert.ok(room > 0, 'those who wait are told');
    assert.deepEqual(events.slice(1), ['a cordon', 'a uncordon']);
    await fleet.close();
  });

  it('a drained node has ended what ran and emptied its pools; drained is told only then', async () => {
    const { fleet, driver, look, summary } = fakeFleet(['a']);
    await look('a');
    fleet.want({ image: 'any:latest', limits, idle: { min: 2, max: 2 } });
    await Promise.all((await fleet.retarget()).map((pool) => pool.filled()));
    assert.ok(fleet.cluster.reserve('a', limits.memory - 16 * MiB));
    fleet.cluster.started('a');
    fleet.cordon('a', true);
    assert.equal(summary('a').cordoned, 'draining', 'a run has its place there, though no sandbox yet');
    const lease = await fleet.lease('a', 'any:latest', limits, limits.memory - 16 * MiB);
    fleet.cluster.ended('a');
    assert.deepEqual([summary('a').cordoned, summary('a').sandboxes], ['draining', { idle: 0, busy: 1 }]);
    await lease.release();
    assert.equal(summary('a').cordoned, 'drained');
    await until(() => driver('a').containers.size === 0);
    fleet.uncordon('a');
    await until(() => summary('a').sandboxes.idle === 2);
    await fleet.close();
    assert.equal(fleet.cluster.node('a')?.booked, 0);
  });

  it('a node that is cordoned by its configuration begins so', async () => {
    const { fleet, look, summary } = fakeFleet(['a'], { settings: { a: { cordoned: true } } });
    await look('a');
    assert.deepEqual([summary('a').state, summary('a').cordoned, fleet.explain(wanted)[0]?.kind], ['ready', 'cordoned', 'passed_over']);
    fleet.uncordon('a');
    assert.equal(fleet.explain(wanted)[0]?.kind, 'passes');
    await fleet.close();
  });
});

describe('pools over the fleet', () => {
  it('are shared out over the nodes that are ready and have the image, anew when that changes', async () => {
    const { fleet, driver, look, summary } = fakeFleet(['a', 'b', 'lacks', 'down']);
    driver('lacks').tags = [];
    driver('down').faults = { unreachable: true };
    await fleet.open();
    const idle = () => ['a', 'b', 'lacks', 'down'].map((name) => summary(name).sandboxes.idle);
    fleet.want({ image: 'any:latest', limits, idle: { min: 4, max: 4 } });
    await Promise.all((await fleet.retarget()).map((pool) => pool.filled()));
    assert.deepEqual(idle(), [2, 2, 0, 0]);
    fleet.cordon('a');
    await until(() => idle().join() === '0,4,0,0');
    fleet.uncordon('a');
    driver('down').faults = {};
    await look('down', 2);
    await until(() => idle().reduce((sum, one) => sum + one) === 4 && idle()[3] === 1);
    assert.equal(idle()[2], 0);
    await fleet.close();
  });

  it('reports a node that can’t prepare an image, and uses the others', async () => {
    const { fleet, driver, troubles, summary } = fakeFleet(['a', 'b']);
    driver('a').prepare = () => Promise.reject(new KatafleetError('engine.failed', 'no room for a layer'));
    await fleet.open();
    fleet.want({ image: 'any:latest', limits, idle: { min: 4, max: 4 } });
    await Promise.all((await fleet.retarget()).map((pool) => pool.filled()));
    assert.equal(summary('b').sandboxes.idle, 2);
    assert.match(troubles.join(), /a: no pool of any:latest: no room for a layer/);
    await fleet.close();
  });
});

describe('images over the fleet', () => {
  it('each with the nodes that can run it now, could, and can’t, with the reason', async () => {
    const names = ['has', 'cordoned', 'lacks', 'arm', 'gone', 'never'];
    const { fleet, driver, look } = fakeFleet(names);
    for (const name of names) driver(name).inventory = [];
    const image = imageOf('1', ['gcc:latest'], { size: 5 });
    for (const name of ['has', 'cordoned', 'gone']) driver(name).inventory = [image, imageOf('2', ['katafleet/adapted:1'])];
    driver('cordoned').inventory = [imageOf('3', ['gcc:latest'], { size: 9 }), imageOf('4', ['<none>:<none>'])];
    driver('arm').fingerprint = { ...fakeFingerprint, architecture: 'arm64' };
    driver('never').faults = { unreachable: true };
    await fleet.open();
    fleet.cordon('cordoned');
    driver('gone').faults = { unreachable: true };
    await look('gone', 3);
    assert.deepEqual(fleet.images(), [
      {
        name: 'gcc:latest',
        ids: ['sha256:1', 'sha256:3'],
        size: 9,
        labels: {},
        ready: ['has'],
        waiting: ['cordoned', 'gone'],
        obtainable: ['lacks'],
        unable: [
          { node: 'arm', why: 'its architecture is arm64' },
          { node: 'never', why: 'it has not answered yet' },
        ],
      },
    ]);
    await fleet.close();
  });

  it('where images are not copied, a node that lacks one can’t run it', async () => {
    const { fleet, driver } = fakeFleet(['has', 'lacks'], { copy: false });
    driver('lacks').tags = [];
    await fleet.open();
    assert.deepEqual(
      fleet.images().map(({ ready, unable }) => [ready, unable]),
      [[['has'], [{ node: 'lacks', why: 'images are not copied to it' }]]],
    );
    await fleet.close();
  });

  it('follows the engine’s own word of a change', async () => {
    const { fleet, driver, look } = fakeFleet(['a']);
    await look('a');
    driver('a').tags = ['any:latest', 'new:1'];
    driver('a').tellOfImages();
    await until(() => fleet.hasImage('new:1'));
    await fleet.close();
  });

  it('copies an image that a run’s node lacks once, however many runs want it', async () => {
    const { fleet, driver } = fakeFleet(['has', 'lacks']);
    driver('lacks').tags = [];
    await fleet.open();
    const lease = () => (fleet.cluster.reserve('lacks', limits.memory), fleet.lease('lacks', 'any:latest', limits, limits.memory));
    const leases = await Promise.all([lease(), lease(), lease()]);
    assert.deepEqual([driver('lacks').imports, driver('lacks').tags], [1, ['any:latest']]);
    await Promise.all(leases.map((one) => one.release()));
    await fleet.close();
    assert.equal(fleet.cluster.node('lacks')?.booked, 0);
  });

  it('a source that fails is passed over for the next; when all fail, the memory is given back', async () => {
    const { fleet, driver } = fakeFleet(['broken', 'has', 'lacks']);
    driver('lacks').tags = [];
    driver('broken').faults = { failExports: true };
    await fleet.open();
    const lease = () => (fleet.cluster.reserve('lacks', limits.memory), fleet.lease('lacks', 'any:latest', limits, limits.memory));
    driver('has').faults = { failExports: true };
    await assert.rejects(lease(), /told not to export/);
    assert.equal(fleet.cluster.node('lacks')?.booked, 0);
    driver('has').faults = {};
    await (await lease()).release();
    assert.equal(driver('lacks').imports, 1);
    await fleet.close();
  });

  it('reports that no node of the architecture has the image', async () => {
    const { fleet, driver } = fakeFleet(['arm', 'lacks']);
    driver('lacks').tags = [];
    driver('arm').fingerprint = { ...fakeFingerprint, architecture: 'arm64' };
    await fleet.open();
    fleet.cluster.reserve('lacks', limits.memory);
    await assert.rejects(fleet.lease('lacks', 'any:latest', limits, limits.memory), /no ready node of lacks's architecture/);
    assert.equal(fleet.cluster.node('lacks')?.booked, 0);
    await fleet.close();
  });
});
