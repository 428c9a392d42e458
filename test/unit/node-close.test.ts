import assert from 'node:assert/strict';
import { mock } from 'node:test';
import { minute } from '../../src/base/units.ts';
import { KatafleetError } from '../../src/model/errors.ts';
import { profileOf, sandboxLimits } from '../../src/model/profile.ts';
import type { Sandbox, SandboxSpec } from '../../src/drivers/contract.ts';
import { NodeSandboxes } from '../../src/fleet/node/sandboxes.ts';
import { FakeDriver } from '../support/fake-driver.ts';

const limits = sandboxLimits(profileOf());
const books = { reserve: () => true, release: () => undefined };

/** Counts how often it is asked what is left over; the first removals of its sandboxes fail, as often as it is told. */
class Watched extends FakeDriver {
  lists = 0;
  failing = 0;

  override list(): ReturnType<FakeDriver['list']> {
    this.lists += 1;
    return super.list();
  }

  override async create(spec: SandboxSpec, signal?: AbortSignal): Promise<Sandbox> {
    const sandbox = await super.create(spec, signal);
    const remove = () => {
      if (this.failing === 0) return sandbox.remove();
      this.failing -= 1;
      return Promise.reject(new KatafleetError('engine.failed', 'device or resource busy'));
    };
    return { ...sandbox, remove };
  }
}

describe('a node that is closed', () => {
  it('waits until its last sandbox is removed, and asks no more where every removal is confirmed', async () => {
    const driver = new Watched();
    const node = new NodeSandboxes(driver, { books, idleMemory: 0 });
    await node.reconcile();
    const lease = await node.lease('any:latest', limits, limits.memory);
    void lease.release();
    assert.equal(driver.containers.size, 1, 'the removal has begun and is not confirmed');
    await node.close();
    assert.deepEqual([driver.containers.size, driver.lists], [0, 1]);
  });

  it('removes what could not be removed before', async () => {
    const driver = new Watched();
    const node = new NodeSandboxes(driver, { books, idleMemory: 0 });
    await node.reconcile();
    const lease = await node.lease('any:latest', limits, limits.memory);
    driver.failing = 1;
    await assert.rejects(lease.release(), /device or resource busy/);
    assert.equal(driver.containers.size, 1);
    await node.close();
    assert.deepEqual([driver.containers.size, driver.lists], [0, 2]);
  });

  it('removes what an engine left behind that broke off a create', async () => {
    const driver = new Watched();
    const node = new NodeSandboxes(driver, { books, idleMemory: 0 });
    await node.reconcile();
    const create = driver.create.bind(driver);
    driver.create = async (spec, signal) => {
      await create(spec, signal);
      throw new KatafleetError('engine.failed', 'the engine could not start it');
    };
    await assert.rejects(node.lease('any:latest', limits, limits.memory), /could not start it/);
    assert.equal(driver.containers.size, 1);
    await node.close();
    assert.equal(driver.containers.size, 0);
  });

  it('stops reaping even if it came back while it was closed', async () => {
    mock.timers.enable({ apis: ['setInterval', 'setTimeout'] });
    try {
      const driver = new Watched();
      const node = new NodeSandboxes(driver, { books, idleMemory: 0 });
      const back = node.reconcile();
      await Promise.all([node.close(), back]);
      const { lists } = driver;
      mock.timers.tick(minute);
      assert.equal(driver.lists, lists);
    } finally {
      mock.timers.reset();
    }
  });
});
