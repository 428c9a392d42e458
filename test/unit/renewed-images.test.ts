import assert from 'node:assert/strict';
import { profileOf, sandboxLimits } from '../../src/model/profile.ts';
import { NodeSandboxes } from '../../src/fleet/node/sandboxes.ts';
import { FakeDriver } from '../support/fake-driver.ts';
import { fakeService, placed, runOf } from '../support/fake-service.ts';
import { fakeFleet, imageOf, MiB } from '../support/fake-fleet.ts';
import { until } from '../support/until.ts';

const limits = sandboxLimits(profileOf());

/** A node with one image, which can be built anew, and creates that wait until they are let go. */
function renewable(startParallelism = 4) {
  const driver = new FakeDriver();
  driver.inventory = [imageOf('old', ['x:latest'])];
  const books = { booked: 0 };
  const node = new NodeSandboxes(driver, {
    idleMemory: 16 * MiB,
    startParallelism,
    books: { reserve: (bytes) => (books.booked += bytes) > 0, release: (bytes) => void (books.booked -= bytes) },
  });
  const create = driver.create.bind(driver);
  const held: (() => void)[] = [];
  const images: string[] = [];
  let holding = false;
  driver.create = async (spec, signal) => {
    images.push(spec.image.id);
    if (holding) await new Promise<void>((resolve) => held.push(resolve));
    return create(spec, signal);
  };
  const rebuild = () => {
    driver.inventory = [imageOf('new', ['x:latest'])];
  };
  const lease = () => {
    books.booked += limits.memory;
    return node.lease('x:latest', limits, limits.memory);
  };
  return {
    driver,
    node,
    books,
    images,
    rebuild,
    lease,
    held,
    hold: () => (holding = true),
    letGo: () => {
      holding = false;
      for (const go of held.splice(0)) go();
    },
  };
}

describe('an image that is built anew', () => {
  it('while a run’s sandbox is being started: the run gets it, and the next one the new image', async () => {
    const { node, rebuild, lease, hold, letGo, held, images, books } = renewable();
    await node.reconcile();
    hold();
    const first = lease();
    await until(() => held.length === 1);
    rebuild();
    await node.refreshImages();
    letGo();
    const old = await first;
    const renewed = await lease();
    assert.deepEqual(
      [old.image.id, renewed.image.id, images],
      ['sha256:sha256:old', 'sha256:sha256:new', ['sha256:sha256:old', 'sha256:sha256:new']],
    );
    await Promise.all([old.release(), renewed.release()]);
    await node.close();
    assert.equal(books.booked, 0);
  });

  it('while a run waits for its turn to start: it gets the new image in the same lease', async () => {
    const { node, rebuild, lease, hold, letGo, held, images, books } = renewable(1);
    await node.reconcile();
    hold();
    const leases = [lease(), lease(), lease()];
    await until(() => held.length === 1);
    rebuild();
    await node.refreshImages();
    letGo();
    const done = await Promise.all(leases);
    assert.deepEqual(
      images.map((id) => id.replace(/.*:/, '')),
      ['old', 'new', 'new'],
    );
    await Promise.all(done.map((one) => one.release()));
    await node.close();
    assert.equal(books.booked, 0);
  });

  it('while it is made ready: nothing of the old one is kept for later runs', async () => {
    const { node, driver, rebuild, lease } = renewable();
    await node.reconcile();
    const prepare = driver.prepare.bind(driver);
    let go: (() => void) | undefined;
    driver.prepare = async (name) => {
      if (name === 'sha256:old') await new Promise<void>((resolve) => (go = resolve));
      return prepare(name);
    };
    const leasing = lease();
    await until(() => go !== undefined);
    rebuild();
    await node.refreshImages();
    go?.();
    const one = await leasing;
    assert.equal(one.image.id, 'sha256:sha256:new');
    await one.release();
    await node.close();
  });

  it('no fault of a run: one whose sandbox is being started when katafleet ends is left to the next', async () => {
    const { service, driver, journal, fleet } = await fakeService(['a']);
    driver('a').faults = { stall: () => true };
    const { id } = await service.accept(runOf(['echo']), placed());
    await until(() => driver('a').stalled === 1);
    service.stop();
    await fleet.close();
    await service.allEnded();
    const { state, attempts } = await service.get(id);
    assert.deepEqual([state, attempts.map((attempt) => attempt.state)], ['waiting', ['lost']]);
    await journal.close();
  });

  it('is what the first run gets once the engine has told of it, and what waits is made of it', async () => {
    const { fleet, driver, look } = fakeFleet(['a']);
    driver('a').inventory = [imageOf('old', ['x:latest'])];
    await look('a');
    const { sandboxes } = fleet.node('a');
    const pool = await sandboxes.target('x:latest', limits, { min: 1, max: 1 });
    await pool.filled();
    driver('a').inventory = [imageOf('new', ['x:latest'])];
    driver('a').tellOfImages();
    assert.ok(fleet.cluster.reserve('a', limits.memory));
    const lease = await fleet.lease('a', 'x:latest', limits, limits.memory);
    assert.equal(lease.image.id, 'sha256:sha256:new');
    assert.equal(pool.idle, 0);
    await lease.release();
    await until(() => sandboxes.idleOf('x:latest', limits) === 1);
    await fleet.close();
    assert.equal(fleet.cluster.node('a')?.booked, 0);
  });
});
