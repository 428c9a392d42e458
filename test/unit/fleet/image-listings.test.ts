import assert from 'node:assert/strict';
import { setImmediate as turn } from 'node:timers/promises';
import { KatafleetError } from '../../../src/model/errors.ts';
import { dispatching, jobOf } from '../../support/dispatching.ts';

/** A dispatcher over many nodes that counts how many are listing their images at the same time. */
async function listing(nodes: number) {
  const names = Array.from({ length: nodes }, (_, node) => `n${node}`);
  const parts = await dispatching(names);
  const seen = { now: 0, most: 0, all: 0 };
  for (const name of names) {
    const driver = parts.driver(name);
    const images = driver.images.bind(driver);
    driver.images = async () => {
      seen.all += 1;
      seen.most = Math.max(seen.most, (seen.now += 1));
      await turn();
      seen.now -= 1;
      return images();
    };
  }
  return { ...parts, names, seen };
}

describe('image lists of a large fleet', () => {
  it('are read from 32 nodes at a time, when a run names an unknown image', async () => {
    const { dispatcher, names, seen, close } = await listing(200);
    await assert.rejects(
      dispatcher.submit(jobOf(['echo'], { image: 'nosuch' })),
      (error) => error instanceof KatafleetError && error.code === 'image.unknown',
    );
    assert.deepEqual([seen.all, seen.most], [names.length, 32]);
    await close();
  });

  it('are read from 32 nodes at a time, when all are read', async () => {
    const { fleet, names, seen, close } = await listing(200);
    await fleet.refreshImages();
    assert.deepEqual([seen.all, seen.most], [names.length, 32]);
    await close();
  });
});
