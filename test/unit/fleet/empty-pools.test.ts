import assert from 'node:assert/strict';
import { NodeSandboxes } from '../../../src/fleet/node/sandboxes.ts';
import { profileOf, sandboxLimits } from '../../../src/model/profile.ts';
import { FakeDriver } from '../../support/fake-driver.ts';

const limits = (pids: number) => sandboxLimits(profileOf({ pids }));

describe('the pools of a node', () => {
  it('are forgotten when they have no sandbox and no demand, if there are many; those in use or configured stay', async () => {
    const books = { reserve: () => true, release: () => undefined };
    const node = new NodeSandboxes(new FakeDriver(), { books, idleMemory: 0 });
    await node.reconcile();
    await node.target('any:latest', limits(4), { min: 0, max: 1 });
    const used = await node.lease('any:latest', limits(5), 1);
    for (let pids = 6; pids < 200; pids += 1) await (await node.lease('any:latest', limits(pids), 1)).release();
    const there = (from: number, to: number) =>
      Array.from({ length: to - from }, (_, index) => from + index).filter((pids) => node.hasPool('any:latest', limits(pids)));
    assert.deepEqual(there(4, 6), [4, 5]);
    assert.ok(there(6, 200).length <= 64, `${there(6, 200).length} pools are kept`);
    await used.release();
    await node.close();
  });
});
