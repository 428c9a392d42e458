import assert from 'node:assert/strict';
import { MachineIdentity } from '../../../src/fleet/node/identity.ts';
import { profileOf, sandboxLimits } from '../../../src/model/profile.ts';
import { fakeFingerprint } from '../../support/fake-driver.ts';
import { fakeFleet, MiB } from '../../support/fake-fleet.ts';

const limits = sandboxLimits(profileOf({ memory: 512 * MiB }));
const GiB = 1024 ** 3;

/** A ready node on which a run has a sandbox. */
async function serving() {
  const fakes = fakeFleet(['a'], { rules: { failures: 3, successes: 1, flapMs: 60_000, intervalMs: 1e8, timeoutMs: 50 } });
  fakes.driver('a').fingerprint = { ...fakeFingerprint, engineId: 'ONE' };
  await fakes.fleet.open();
  fakes.fleet.cluster.reserve('a', limits.memory);
  const lease = await fakes.fleet.lease('a', 'any:latest', limits, limits.memory);
  return { ...fakes, lease };
}

describe('a node that came back as another machine', () => {
  it('is probed anew after one failed look: its size, its images, and its sandboxes, which are lost', async () => {
    const { fleet, driver, look, summary, lease, events, troubles } = await serving();
    driver('a').faults = { unreachable: true };
    assert.equal(await look('a'), 'suspect');
    driver('a').faults = {};
    driver('a').containers.clear();
    driver('a').fingerprint = { ...fakeFingerprint, engineId: 'TWO', memory: 2 * GiB, cpus: 1 };
    driver('a').tags = ['other:latest'];
    assert.equal(await look('a'), 'ready');
    assert.ok(lease.lost.aborted, 'its run is tried elsewhere');
    assert.deepEqual([summary('a').memory.total, summary('a').cpus], [2 * GiB, 1]);
    assert.deepEqual(
      fleet.images().map(({ name }) => name),
      ['other:latest'],
    );
    assert.deepEqual(
      events.map((event) => event.replace(/:.*/, '')),
      ['a ready', 'a suspect', 'a probing', 'a ready'],
    );
    assert.match(troubles.join('\n'), /a: another machine answers: fake, 1 CPUs, 2 GiB, .*id TWO \(it was fake, 4 CPUs, 8 GiB, .*id ONE\)/);
    await lease.release();
    assert.equal(summary('a').memory.booked, 0);
    await fleet.close();
  });

  it('prepares its images again, because those that were made ready are not there', async () => {
    const { fleet, driver, look, lease } = await serving();
    let prepared = 0;
    const prepare = driver('a').prepare.bind(driver('a'));
    driver('a').prepare = (name) => {
      prepared += 1;
      return prepare(name);
    };
    driver('a').faults = { unreachable: true };
    await look('a');
    driver('a').faults = {};
    driver('a').fingerprint = { ...fakeFingerprint, engineId: 'TWO' };
    await look('a');
    await lease.release();
    fleet.cluster.reserve('a', limits.memory);
    await (await fleet.lease('a', 'any:latest', limits, limits.memory)).release();
    assert.equal(prepared, 1);
    await fleet.close();
  });

  it('keeps its runs if only its size has changed', async () => {
    const { fleet, driver, look, summary, lease } = await serving();
    driver('a').faults = { unreachable: true };
    await look('a');
    driver('a').faults = {};
    driver('a').fingerprint = { ...fakeFingerprint, engineId: 'ONE', memory: 16 * GiB };
    assert.equal(await look('a'), 'ready');
    assert.deepEqual([summary('a').memory.total, lease.lost.aborted], [16 * GiB, false]);
    await lease.release();
    await fleet.close();
  });

  it('is down, without its runs, if it can’t be probed', async () => {
    const { fleet, driver, look, lease } = await serving();
    driver('a').faults = { unreachable: true };
    await look('a');
    driver('a').faults = {};
    driver('a').fingerprint = { ...fakeFingerprint, engineId: 'ONE', memory: 16 * GiB };
    const images = driver('a').images.bind(driver('a'));
    driver('a').images = () => Promise.reject(new Error('no list'));
    assert.equal(await look('a'), 'down');
    assert.ok(lease.lost.aborted);
    driver('a').images = images;
    assert.equal(await look('a'), 'ready');
    await lease.release();
    await fleet.close();
  });

  it('is the same machine while it is the same: nothing is probed twice', async () => {
    const { fleet, driver, look, lease } = await serving();
    const { probes } = driver('a');
    driver('a').faults = { unreachable: true };
    await look('a');
    driver('a').faults = {};
    assert.equal(await look('a'), 'ready');
    assert.equal(driver('a').probes, probes);
    assert.equal(lease.lost.aborted, false);
    await lease.release();
    await fleet.close();
  });
});

describe('the identity of a machine', () => {
  it('is not judged by the id of an engine that says another one each time', async () => {
    let asked = 0;
    const identity = new MachineIdentity(
      () => Promise.resolve({ ...fakeFingerprint, engineId: `id ${(asked += 1)}` }),
      () => undefined,
    );
    identity.learn({ ...fakeFingerprint, engineId: 'id 0' });
    identity.doubt();
    assert.equal(await identity.ask(), undefined);
    assert.equal(asked, 2);
    identity.doubt();
    assert.equal(await identity.ask(), undefined);
    assert.equal(asked, 3);
  });

  it('is asked for again at the next look, and the failure is told once, while it can’t be asked', async () => {
    const told: string[] = [];
    let asked = 0;
    const identity = new MachineIdentity(
      () => {
        asked += 1;
        return Promise.reject(new Error('slow'));
      },
      (message) => told.push(message),
    );
    identity.learn(fakeFingerprint);
    assert.equal(await identity.ask(), undefined);
    assert.equal(asked, 0, 'the probe is younger than a minute');
    identity.doubt();
    await identity.ask();
    await identity.ask();
    assert.deepEqual([asked, told], [2, ['it could not be asked which machine it is: slow']]);
  });

  it('of a swarm is its own id: the managers answer in turn', async () => {
    const swarm = { ...fakeFingerprint, engineId: 'swarm', largest: { memory: GiB, cpus: 1 } };
    const answers = [
      { ...swarm, node: 'another manager', memory: 3 * GiB },
      { ...swarm, engineId: 'another swarm' },
    ];
    const identity = new MachineIdentity(
      () => Promise.resolve(answers[0]),
      () => undefined,
    );
    identity.learn(swarm);
    identity.doubt();
    assert.equal(await identity.ask(), undefined);
    answers.shift();
    identity.doubt();
    assert.equal((await identity.ask())?.how, 'replaced');
  });
});
