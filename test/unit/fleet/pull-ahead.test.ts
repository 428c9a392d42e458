import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { setTimeout as wait } from 'node:timers/promises';
import { profileOf, sandboxLimits } from '../../../src/model/profile.ts';
import { dispatching, jobOf } from '../../support/dispatching.ts';
import { fakeFleet, MiB } from '../../support/fake-fleet.ts';
import { until } from '../../support/until.ts';

const limits = sandboxLimits(profileOf({ memory: 512 * MiB }));

/** A dispatcher over nodes of which the first has the image; counts the exports of images. */
async function oneHasIt(nodes: number) {
  const names = Array.from({ length: nodes }, (_, node) => `n${node}`);
  const parts = await dispatching(names);
  for (const name of names.slice(1)) parts.driver(name).tags = [];
  await parts.fleet.refreshImages();
  const seen = { all: 0, now: 0, most: 0, mostOfOne: 0 };
  for (const name of names) {
    let own = 0;
    parts.driver(name).exportImage = async (image) => {
      own += 1;
      seen.all += 1;
      seen.most = Math.max(seen.most, (seen.now += 1));
      seen.mostOfOne = Math.max(seen.mostOfOne, own);
      await wait(5);
      own -= 1;
      seen.now -= 1;
      return Readable.from([image]);
    };
  }
  const letGo = () => names.forEach((name) => parts.driver(name).letGo());
  return { ...parts, names, seen, letGo };
}

describe('copies of an image ahead of runs', () => {
  it('are few at a time, however many runs want an image that one node has, and receivers hand it on', async () => {
    const { dispatcher, driver, names, seen, letGo, close } = await oneHasIt(50);
    const runs = Array.from({ length: 120 }, () => dispatcher.submit(jobOf(['hold'])));
    await until(() => dispatcher.running === 120);
    assert.ok(seen.most <= 4 && seen.mostOfOne <= 2, `${seen.most} at once, ${seen.mostOfOne} of one node`);
    assert.ok(seen.all < names.length - 1, `${seen.all} copies: no more than the runs need`);
    const ended = Promise.all(runs);
    await until(() => (letGo(), dispatcher.running === 0 && dispatcher.waiting === 0));
    const used = new Set((await ended).map(({ node }) => node));
    assert.ok([...used].every((name) => driver(name).tags.length > 0));
    await close();
  });

  it('begin when the nodes with the image are full, and a run goes there when its copy is done', async () => {
    const { dispatcher, driver, seen, letGo, close } = await oneHasIt(2);
    const all = Array.from({ length: 16 }, () => dispatcher.submit(jobOf(['hold'])));
    await until(() => driver('n0').holding === 16);
    assert.equal(seen.all, 0);
    const next = dispatcher.submit(jobOf(['echo']));
    assert.equal((await next).node, 'n1');
    assert.equal(driver('n1').imports, 1);
    letGo();
    await Promise.all(all);
    await close();
  });

  it('are made within a run if no node that has the image ever takes it', async () => {
    const { fleet, dispatcher, driver, close } = await oneHasIt(2);
    fleet.cordon('n0');
    assert.equal((await dispatcher.submit(jobOf(['echo']))).node, 'n1');
    assert.equal(driver('n1').imports, 1);
    await close();
  });

  it('do not keep a run waiting for a node that falls away', async () => {
    const { fleet, dispatcher, driver, letGo, close } = await oneHasIt(2);
    driver('n0').exportImage = () => new Promise(() => undefined); // pulling ahead never ends
    const all = Array.from({ length: 16 }, () => dispatcher.submit(jobOf(['hold'])));
    await until(() => driver('n0').holding === 16);
    const next = dispatcher.submit(jobOf(['echo']));
    await wait(50);
    assert.equal(dispatcher.waiting, 1);
    driver('n1').tags = ['any:latest'];
    await fleet.refreshImages();
    assert.equal((await next).node, 'n1');
    letGo();
    await Promise.all(all);
    await close();
  });
});

describe('a copy that runs wait for', () => {
  it('goes on when one of them is cancelled, whose wait ends at once', async () => {
    const { fleet, driver } = fakeFleet(['has', 'lacks']);
    driver('lacks').tags = [];
    await fleet.open();
    let give: (archive: Readable) => void = () => undefined;
    driver('has').exportImage = () => new Promise((resolve) => (give = resolve));
    const cancel = new AbortController();
    const lease = (signal?: AbortSignal) => (
      fleet.cluster.reserve('lacks', limits.memory),
      fleet.lease('lacks', 'any:latest', limits, limits.memory, signal)
    );
    const [cancelled, other] = [lease(cancel.signal), lease()];
    cancel.abort(new Error('cancelled'));
    await assert.rejects(cancelled, /cancelled/);
    assert.equal(fleet.cluster.node('lacks')?.booked, limits.memory);
    give(Readable.from(['any:latest']));
    await (await other).release();
    assert.equal(driver('lacks').imports, 1);
    await fleet.close();
  });
});
