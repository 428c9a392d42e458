import assert from 'node:assert/strict';
import { KatafleetError } from '../../src/model/errors.ts';
import { NodeSandboxes } from '../../src/fleet/node/sandboxes.ts';
import { FakeDriver } from '../support/fake-driver.ts';

describe('an image that a node can’t make ready', () => {
  it('is told by the name that it was asked for by, not by its id', async () => {
    const driver = new FakeDriver();
    driver.inventory = [{ id: 'sha256:abcd', tags: ['x:latest'], digests: [], size: 1, labels: {} }];
    driver.prepare = (id) =>
      Promise.reject(new KatafleetError('supervisor.missing', `the image ${id} carries none`, { hint: `docker tag ${id}` }));
    const node = new NodeSandboxes(driver, { books: { reserve: () => true, release: () => undefined }, idleMemory: 0 });
    try {
      await node.reconcile();
      await assert.rejects(node.image('x:latest'), (error) => {
        assert.ok(error instanceof KatafleetError);
        assert.deepEqual(
          [error.code, error.message, error.hint],
          ['supervisor.missing', 'the image x:latest carries none', 'docker tag x:latest'],
        );
        return true;
      });
    } finally {
      await node.close();
    }
  });
});
