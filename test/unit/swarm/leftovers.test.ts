import assert from 'node:assert/strict';
import { duplexPair } from 'node:stream';
import { labels } from '../../../src/model/labels.ts';
import { Leftovers } from '../../../src/drivers/swarm/nodes/leftovers.ts';
import { FakeDriver } from '../../support/fake-driver.ts';

describe('finished containers that engines leave behind', () => {
  const troubles: string[] = [];
  const engineWith = (...containers: [string, boolean, string][]) => {
    const engine = new FakeDriver();
    for (const [id, running, stack] of containers) {
      const [end] = duplexPair();
      engine.containers.set(id, { spec: { labels: { [labels.role]: 'sandbox', [labels.stack]: stack } }, end, running, memory: 0 });
    }
    return engine;
  };
  const sweeper = (engine: FakeDriver) => new Leftovers('ours', [engine], (message) => troubles.push(message));
  beforeEach(() => troubles.splice(0));

  it('are removed when they have been finished for a minute; running ones and those of others stay', async () => {
    const engine = engineWith(['done', false, 'ours'], ['runs', true, 'ours'], ['other', false, 'theirs']);
    const leftovers = sweeper(engine);
    await leftovers.sweep(1_000);
    await leftovers.sweep(60_999);
    assert.deepEqual([...engine.containers.keys()], ['done', 'runs', 'other']);
    await leftovers.sweep(61_000);
    assert.deepEqual([...engine.containers.keys()], ['runs', 'other']);
    assert.deepEqual(leftovers.of('fake').leftOver, 0);
  });

  it('are counted if they can’t be removed, which is reported once', async () => {
    const engine = engineWith(['done', false, 'ours']);
    engine.remove = () => Promise.reject(new Error('it is busy'));
    const leftovers = sweeper(engine);
    for (const now of [0, 60_000, 120_000]) await leftovers.sweep(now);
    assert.deepEqual(leftovers.of('fake').leftOver, 1);
    assert.equal(troubles.length, 1, troubles.join());
  });

  it('reports an engine that does not answer once, and has no counts for it', async () => {
    const engine = engineWith(['done', false, 'ours']);
    const leftovers = sweeper(engine);
    await leftovers.sweep(0);
    engine.faults = { unreachable: true };
    await leftovers.sweep(1);
    await leftovers.sweep(2);
    assert.equal(troubles.length, 1, troubles.join());
  });
});
