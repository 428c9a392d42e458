import assert from 'node:assert/strict';
import { imageIndex } from '../../src/model/image-name.ts';
import { labels } from '../../src/model/labels.ts';
import { imageOf } from '../support/fake-fleet.ts';

const id = (letter: string) => letter.repeat(64);
const adaptedFrom = (source: string) => imageOf(id('a'), ['katafleet/adapted:1'], { labels: { [labels.adaptedFrom]: `sha256:${source}` } });

describe('the names that a node’s images answer to', () => {
  it('hold the id of an image without a tag once another was adapted from it: engines no longer list it', () => {
    const source = `sha256:${id('b')}`;
    const before = imageIndex([imageOf(id('b'), ['<none>:<none>'])]);
    const after = imageIndex([adaptedFrom(id('b'))]);
    for (const name of [source, `${id('b')}:latest`, `${'b'.repeat(12)}:latest`]) {
      assert.deepEqual([before.get(name), after.get(name)], [source, source]);
    }
    assert.equal(after.get('adapted:1'), `sha256:${id('a')}`);
  });

  it('are those of an image that is listed beside what was adapted from it', () => {
    const index = imageIndex([imageOf(id('b'), ['gcc:latest']), adaptedFrom(id('b'))]);
    assert.deepEqual([index.get('gcc:latest'), index.get(`sha256:${id('b')}`)], [`sha256:${id('b')}`, `sha256:${id('b')}`]);
  });
});
