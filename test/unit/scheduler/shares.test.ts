import assert from 'node:assert/strict';
import fc from 'fast-check';
import { shareTargets } from '../../../src/scheduler/shares.ts';

const sum = (shares: ReadonlyMap<string, number>) => Array.from(shares.values()).reduce((all, share) => all + share, 0);
const named = (weights: readonly number[]) => weights.map((weight, index) => ({ name: `n${index}`, weight }));
const weights = fc.array(fc.constantFrom(0, 1, 2, 3, 8, 64.5), { maxLength: 12 });

describe('scheduler: the shares of a pool', () => {
  it('are complete, and depend on neither the order of the nodes nor the unit of their sizes', () => {
    fc.assert(
      fc.property(fc.nat(200), weights, (total, sizes) => {
        const nodes = named(sizes);
        const shares = shareTargets('pool', total, nodes);
        assert.equal(sum(shares), sizes.some((size) => size > 0) ? total : 0);
        assert.ok(Array.from(shares).every(([name, share]) => share > 0 && nodes.some((node) => node.name === name && node.weight > 0)));
        const other = shareTargets(
          'pool',
          total,
          [...nodes].reverse().map(({ name, weight }) => ({ name, weight: weight * 4 })),
        );
        assert.deepEqual(new Map([...other].sort()), new Map([...shares].sort()));
      }),
    );
  });

  it('are even over nodes of one size, and by size over others', () => {
    fc.assert(
      fc.property(fc.nat(200), fc.integer({ min: 1, max: 12 }), (total, count) => {
        const given = named(new Array<number>(count).fill(7)).map(({ name }, _index, nodes) => {
          return shareTargets('pool', total, nodes).get(name) ?? 0;
        });
        assert.ok(Math.max(...given) - Math.min(...given) <= 1);
      }),
    );
    const shares = shareTargets('pool', 1_000, named([1, 2, 7]));
    for (const [index, part] of [0.1, 0.2, 0.7].entries()) assert.ok(Math.abs((shares.get(`n${index}`) ?? 0) - 1_000 * part) <= 2);
  });

  it('of the nodes that stay only grow when one goes, and when more are wanted', () => {
    fc.assert(
      fc.property(fc.nat(200), weights, fc.nat(11), (total, sizes, leaving) => {
        const before = shareTargets('pool', total, named(sizes));
        const rest = named(sizes).filter((_node, index) => index !== leaving);
        const after = shareTargets('pool', total, rest);
        for (const { name } of rest) assert.ok((after.get(name) ?? 0) >= (before.get(name) ?? 0));
        const more = shareTargets('pool', total + 3, named(sizes));
        for (const [name, share] of before) assert.ok((more.get(name) ?? 0) >= share);
      }),
    );
  });

  it('of small pools lie on different nodes', () => {
    const nodes = named(new Array<number>(10).fill(1));
    const chosen = new Set(Array.from({ length: 60 }, (_, pool) => [...shareTargets(`pool ${pool}`, 1, nodes).keys()][0]));
    assert.ok(chosen.size >= 8, `60 pools of one sandbox lie on ${chosen.size} of 10 nodes`);
  });
});
