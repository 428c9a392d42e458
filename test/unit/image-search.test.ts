import assert from 'node:assert/strict';
import { KatafleetError } from '../../src/model/errors.ts';
import { ImageSearch } from '../../src/fleet/inventory/image-search.ts';
import { dispatching, jobOf } from '../support/dispatching.ts';
import { until } from '../support/until.ts';

const unknown = (error: unknown) => error instanceof KatafleetError && error.code === 'image.unknown';

/** A dispatcher over so many nodes that counts how often each is asked for its images. */
async function counting(nodes: number) {
  const names = Array.from({ length: nodes }, (_, node) => `n${node}`);
  const parts = await dispatching(names);
  const asked = new Map(names.map((name) => [name, 0]));
  for (const name of names) {
    const driver = parts.driver(name);
    const images = driver.images.bind(driver);
    driver.images = () => {
      asked.set(name, (asked.get(name) ?? 0) + 1);
      return images();
    };
  }
  const submit = (image: string) => parts.dispatcher.submit(jobOf(['echo'], { image }));
  return { ...parts, names, asked, submit };
}

describe('a run of an image that is not in the books', () => {
  it('asks each node once, however many runs name however many such images', async () => {
    const { asked, submit, close } = await counting(50);
    const all = await Promise.allSettled(Array.from({ length: 200 }, (_, run) => submit(`nosuch${run % 2}`)));
    assert.ok(all.every((one) => one.status === 'rejected' && unknown(one.reason)));
    assert.deepEqual([...new Set(asked.values())], [1]);
    await assert.rejects(submit('nosuch1'), unknown);
    assert.deepEqual([...new Set(asked.values())], [1], 'what was nowhere a moment ago is not looked for again');
    await close();
  });

  it('is refused although a node hangs, which is asked once; what it says later is known', async () => {
    const { driver, asked, submit, fleet, close } = await counting(3);
    const images = driver('n1').images.bind(driver('n1'));
    let hung = 0;
    let answer = () => {};
    const answered = new Promise<void>((resolve) => (answer = resolve));
    driver('n1').images = async () => {
      hung += 1;
      await answered;
      return images();
    };
    await assert.rejects(submit('nosuch'), unknown);
    await assert.rejects(submit('other'), unknown);
    assert.deepEqual([asked.get('n0'), hung, asked.get('n2')], [2, 1, 2]);
    driver('n1').tags.push('nosuch:latest');
    answer();
    await until(() => fleet.hasImage('nosuch'));
    assert.equal((await submit('nosuch')).node, 'n1');
    await close();
  });

  it('is found as soon as a node has reported a change, or another search has asked it', async () => {
    const { driver, submit, fleet, close } = await counting(2);
    await assert.rejects(submit('told'), unknown);
    driver('n1').tags.push('told:latest', 'listed:latest');
    driver('n1').tellOfImages();
    assert.equal((await submit('told')).node, 'n1');
    await assert.rejects(submit('copied'), unknown);
    driver('n0').tags.push('copied:latest');
    await fleet.refreshImages();
    assert.equal((await submit('copied')).node, 'n0');
    await close();
  });
});

describe('a search for images', () => {
  /** A node whose answers come when the test says so. */
  function slow() {
    const [names, answers] = [new Set<string>(), [] as ((answered: boolean) => void)[]];
    const node = {
      refreshImages: () => new Promise<boolean>((resolve) => answers.push(resolve)),
    };
    return { names, answers, node };
  }

  it('looks again where images changed while it looked', async () => {
    const { names, answers, node } = slow();
    const search = new ImageSearch(
      () => [node],
      (name) => names.has(name),
    );
    const found = search.look('x');
    search.changed(node);
    answers[0]?.(true);
    await until(() => answers.length === 2);
    names.add('x');
    answers[1]?.(true);
    await found;
    assert.ok(names.has('x'));
  });

  it('waits for the only node that can answer', async () => {
    const [{ answers, names, node }, away] = [slow(), slow()];
    const search = new ImageSearch(
      () => [node, away.node],
      (name) => names.has(name),
      10,
    );
    let over = false;
    const found = search.look('x').then(() => (over = true));
    away.answers[0]?.(false);
    await new Promise((resolve) => setTimeout(resolve, 50)); // after the time for which slow nodes are waited for
    assert.equal(over, false);
    names.add('x');
    answers[0]?.(true);
    await found;
    assert.ok(names.has('x'));
  });
});
