import assert from 'node:assert/strict';
import fc from 'fast-check';
import { poolPlan, poolTarget } from '../../../src/scheduler/targets.ts';

describe('scheduler: pool targets', () => {
  it('cover twice what is taken while one is made, or a quarter of what was in use at once', () => {
    const bounds = { min: 0, max: 100 };
    assert.equal(poolTarget({ rate: 10, replacementMs: 300, peak: 0 }, bounds), 6);
    assert.equal(poolTarget({ rate: 10, replacementMs: 300, peak: 40 }, bounds), 10);
    assert.equal(poolTarget({ rate: 1e9, replacementMs: 300, peak: 40 }, bounds), 100);
    assert.equal(poolTarget({ rate: 0, replacementMs: 300, peak: 0 }, { min: 3, max: 100 }), 3);
  });

  it('a plan leads to its target, unless a failing engine is left in peace, and never does both', () => {
    const state = fc.record({ idle: fc.nat(20), filling: fc.nat(20), target: fc.nat(20), paused: fc.boolean() });
    fc.assert(
      fc.property(state, (now) => {
        const { start, discard } = poolPlan(now);
        assert.ok(start === 0 || discard === 0);
        assert.ok(discard <= now.idle && start >= 0 && discard >= 0);
        if (now.paused) assert.equal(start, 0);
        else assert.ok(now.idle - discard + now.filling + start >= now.target, 'enough are on their way');
        assert.equal(now.idle - discard, Math.min(now.idle, now.target));
      }),
    );
  });
});
