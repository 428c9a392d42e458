import assert from 'node:assert/strict';
import fc from 'fast-check';
import { poolKey, profileOf, type SandboxLimits, sandboxLimits } from '../../src/model/profile.ts';

describe('the key of a pool', () => {
  const limits = sandboxLimits(profileOf({ memory: 64 * 1024 ** 2 }));

  it('names the image and every limit that is given, in the order of their names', () => {
    const all: Required<SandboxLimits> = {
      ...limits,
      dial: 'host',
      openFiles: 2_048,
      network: 'rsync',
      machines: ['disk==ssd'],
      joins: 'lan',
    };
    const sorted = Object.entries(all).sort(([a], [b]) => (a < b ? -1 : 1));
    assert.equal(poolKey('gcc:latest', all), JSON.stringify(['gcc:latest', sorted]));
  });

  it('is the same for equal limits, in whatever order their fields were made', () => {
    const turned = Object.fromEntries(Object.entries(limits).reverse()) as SandboxLimits;
    assert.equal(poolKey('gcc:latest', turned), poolKey('gcc:latest', limits));
  });

  it('differs by image and by each limit, also when the same object is asked for again', () => {
    const keyOf = fc.tuple(fc.constantFrom('a:latest', 'b:latest'), fc.constantFrom(limits, { ...limits, pids: 7 }));
    const plain = (image: string, of: SandboxLimits) => `${image} ${of.pids}`;
    fc.assert(
      fc.property(fc.array(keyOf), (asked) => {
        const names = new Set(asked.map(([image, of]) => plain(image, of)));
        assert.equal(new Set(asked.map(([image, of]) => poolKey(image, of))).size, names.size);
      }),
    );
  });
});
