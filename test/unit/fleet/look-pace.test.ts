import assert from 'node:assert/strict';
import { LookPace } from '../../../src/fleet/node/look-pace.ts';

describe('the pace of looks at a node', () => {
  it('is one interval while the node is ready, and five while it may not serve', () => {
    const pace = new LookPace(1_000, () => 0.5);
    pace.next('ready');
    assert.deepEqual(pace.next('ready'), { ms: 1_000, extra: false });
    assert.deepEqual(pace.next('down'), { ms: 1_000, extra: false });
    assert.deepEqual(pace.next('unusable'), { ms: 5_000, extra: false });
  });

  it('looks four times in an interval at a suspect node, and counts one of the four', () => {
    const pace = new LookPace(1_000, () => 0.5);
    pace.next('ready');
    const looks = Array.from({ length: 8 }, () => pace.next('suspect'));
    assert.deepEqual([...new Set(looks.map(({ ms }) => ms))], [250]);
    assert.deepEqual(
      looks.map(({ extra }) => extra),
      [true, true, true, false, true, true, true, false],
    );
  });

  it('begins to count anew when the node was not suspect in between', () => {
    const pace = new LookPace(1_000, () => 0.5);
    for (const state of ['suspect', 'suspect', 'ready'] as const) pace.next(state);
    const looks = Array.from({ length: 4 }, () => pace.next('suspect').extra);
    assert.deepEqual(looks, [true, true, true, false]);
  });

  it('spreads the first interval over its whole length, and varies the later ones by a tenth', () => {
    for (const [random, first, later] of [
      [0, 0, 900],
      [1, 1_000, 1_100],
    ] as const) {
      const pace = new LookPace(1_000, () => random);
      assert.deepEqual([pace.next('ready').ms, pace.next('ready').ms], [first, later]);
    }
  });
});
