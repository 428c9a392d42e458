import assert from 'node:assert/strict';
import { labels } from '../../../src/model/labels.ts';
import { profileOf, sandboxLimits } from '../../../src/model/profile.ts';
import type { OwnedContainer } from '../../../src/drivers/contract.ts';
import { comesTooLate } from '../../../src/fleet/node/neighbours.ts';
import { FakeDriver } from '../../support/fake-driver.ts';
import { fakeFleet, MiB } from '../../support/fake-fleet.ts';

const limits = sandboxLimits(profileOf({ memory: 512 * MiB }));
const whole = 16; // so many of them fit on the fake's 8 GiB

/** A katafleet on an engine that others may use too. Its `start` starts so many runs as its books allow, all at once. */
function katafleet(shared: FakeDriver) {
  const fakes = fakeFleet(['a'], { connect: () => shared });
  const { fleet } = fakes;
  const start = async (runs: number) => {
    const asked = Array.from({ length: runs }, async () => {
      if (!fleet.cluster.reserve('a', limits.memory)) throw new Error('the books have no room');
      return fleet.lease('a', 'any:latest', limits, limits.memory);
    });
    const settled = await Promise.allSettled(asked);
    return settled.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
  };
  return { ...fakes, start };
}

describe('several katafleets on one node', () => {
  it('do not start more than its memory holds, one after another', async () => {
    const shared = new FakeDriver();
    const counts = [];
    const fleets = [];
    for (let one = 0; one < 3; one += 1) {
      const next = katafleet(shared);
      await next.fleet.open();
      fleets.push(next);
      counts.push((await next.start(10)).length);
    }
    assert.deepEqual(counts, [10, 6, 0]);
    assert.equal(shared.containers.size, whole);
    for (const { fleet } of fleets) await fleet.close();
  });

  it('do not when all start at once: the later ones give way, and only so many as must', async () => {
    const shared = new FakeDriver();
    const fleets = Array.from({ length: 3 }, () => katafleet(shared));
    await Promise.all(fleets.map(({ fleet }) => fleet.open()));
    const leases = await Promise.all(fleets.map(({ start }) => start(whole)));
    assert.equal(leases.flat().length, whole);
    assert.equal(shared.containers.size, whole);
    for (const { fleet } of fleets) {
      await fleet.node('a').sandboxes.reap();
      const { booked = 0, others = 0 } = fleet.cluster.node('a') ?? {};
      assert.ok(booked + others <= whole * limits.memory, 'what gave way is not booked any more');
    }
    await Promise.all(leases.flat().map((lease) => lease.release()));
    for (const { fleet } of fleets) {
      await fleet.node('a').sandboxes.reap();
      assert.deepEqual([fleet.cluster.node('a')?.booked, fleet.cluster.node('a')?.others], [0, 0]);
      await fleet.close();
    }
  });

  it('carry owner and memory limit on each sandbox', async () => {
    const shared = new FakeDriver();
    const { fleet, start } = katafleet(shared);
    await fleet.open();
    await start(1);
    const [listed] = await shared.list();
    assert.deepEqual([listed?.memory, listed?.labels[labels.memory]], [limits.memory, String(limits.memory)]);
    assert.match(listed?.labels[labels.sandbox] ?? '', /^[0-9a-f-]{36}\/1$/);
    await fleet.close();
  });

  it('book a neighbour of an older version, which does not tell its limits, by the usual limit', async () => {
    const shared = new FakeDriver();
    shared.plant('old', { [labels.role]: 'sandbox', [labels.sandbox]: 'another/1' });
    shared.plant('ended', { [labels.role]: 'sandbox', [labels.sandbox]: 'another/2' }, false);
    shared.plant('adapting', { [labels.role]: 'adapting' });
    const { fleet } = katafleet(shared);
    await fleet.open();
    assert.equal(fleet.cluster.node('a')?.others, profileOf({}).memory);
    await fleet.close();
  });
});

describe('which sandbox comes too late', () => {
  const one = (sandbox: string, created: number, more: Partial<OwnedContainer> = {}): OwnedContainer => ({
    id: sandbox,
    running: true,
    created,
    memory: 1,
    labels: { [labels.role]: 'sandbox', [labels.sandbox]: sandbox },
    ...more,
  });
  const bytesOf = ({ memory = 0 }: OwnedContainer) => memory;
  const late = async (all: OwnedContainer[], memory: number, exact?: Record<string, number>) => {
    const createdAt = exact && ((id: string) => Promise.resolve(exact[id]));
    const asked = await Promise.all(all.map(async ({ id }) => [id, await comesTooLate(all, id, { memory, bytesOf, createdAt })] as const));
    return asked.flatMap(([id, yes]) => (yes ? [id] : []));
  };

  it('is decided by the time of creation, then by the name: never do both give way', async () => {
    assert.deepEqual(await late([one('b/1', 1), one('a/1', 2), one('a/2', 3)], 2), ['a/2']);
    assert.deepEqual(await late([one('b/1', 1), one('a/1', 1)], 1), ['b/1']);
    assert.deepEqual(await late([one('b/1', 1), one('a/1', 1)], 2), []);
  });

  it('asks for the exact time where the list says only the second', async () => {
    assert.deepEqual(await late([one('a/1', 1_000), one('b/1', 1_000)], 1, { 'a/1': 1_000.7, 'b/1': 1_000.2 }), ['a/1']);
  });

  it('counts what has not ended, and only sandboxes', async () => {
    const all = [one('a/1', 1, { running: false, alive: true }), one('a/2', 2, { running: false }), one('b/1', 3), one('b/2', 4)];
    assert.deepEqual(await late(all, 2), ['b/2']);
    const other = one('c/1', 0, { labels: { [labels.role]: 'adapting' } });
    assert.deepEqual(await late([other, one('b/1', 3)], 1), []);
  });
});
