import assert from 'node:assert/strict';
import fc from 'fast-check';
import { poolPlan, poolTarget, shareTargets } from '../../../src/scheduler/targets.ts';

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

  it('of the whole fleet are distributed completely and evenly over nodes that can take them', () => {
    const node = fc.record({ free: fc.constantFrom(-5, 0, 1, 2, 3), hasImage: fc.boolean(), ready: fc.boolean() });
    fc.assert(
      fc.property(fc.nat(50), fc.array(node, { maxLength: 12 }), (total, described) => {
        const nodes = described.map((one, index) => ({ ...one, name: `n${index}` }));
        const able = nodes.filter(({ free, hasImage, ready }) => free > 0 && hasImage && ready);
        const shares = shareTargets(total, nodes);
        const given = able.map(({ name }) => shares.get(name) ?? 0);
        assert.equal(
          Array.from(shares.values()).reduce((sum, share) => sum + share, 0),
          able.length > 0 ? total : 0,
        );
        assert.ok(Array.from(shares).every(([name, share]) => share > 0 && able.some((one) => one.name === name)));
        if (able.length > 0) assert.ok(Math.max(...given) - Math.min(...given) <= 1);
        for (const richer of able)
          for (const poorer of able)
            if (richer.free > poorer.free) assert.ok((shares.get(richer.name) ?? 0) >= (shares.get(poorer.name) ?? 0));
        assert.deepEqual(shareTargets(total, [...nodes].reverse()), shares, 'the order of the nodes does not matter');
      }),
    );
  });
});
