import assert from 'node:assert/strict';
import fc from 'fast-check';
import { FreeOrder } from '../../../src/scheduler/index/free-order.ts';
import { Heap } from '../../../src/scheduler/queue/heap.ts';
import { IndexedSet } from '../../../src/scheduler/index/indexed-set.ts';
import { LoadTree } from '../../../src/scheduler/index/load-tree.ts';

const ascending = (a: number, b: number) => a - b;

describe('scheduler: heap', () => {
  it('gives what was put in, the least first, whatever comes in between', () => {
    const steps = fc.array(fc.oneof(fc.record({ push: fc.nat(50) }), fc.constant('pop' as const), fc.record({ keep: fc.nat(50) })), {
      maxLength: 80,
    });
    fc.assert(
      fc.property(steps, (todo) => {
        const heap = new Heap<number>((a, b) => a < b);
        let model: number[] = [];
        for (const step of todo) {
          if (step === 'pop') assert.equal(heap.pop(), model.shift());
          else if ('push' in step) {
            heap.push(step.push);
            model = [...model, step.push].sort(ascending);
          } else {
            heap.keep((item) => item < step.keep);
            model = model.filter((item) => item < step.keep);
          }
          assert.deepEqual([heap.size, heap.peek()], [model.length, model[0]]);
        }
      }),
    );
  });
});

describe('scheduler: indexed set', () => {
  it('is a set, and every place holds another of its items', () => {
    const steps = fc.array(fc.record({ item: fc.nat(12), add: fc.boolean() }), { maxLength: 60 });
    fc.assert(
      fc.property(steps, (todo) => {
        const set = new IndexedSet();
        const model = new Set<number>();
        for (const { item, add } of todo) {
          if (add) {
            set.add(item);
            model.add(item);
          } else {
            set.delete(item);
            model.delete(item);
          }
          assert.equal(set.has(item), add);
          const sorted = [...model].sort(ascending);
          assert.deepEqual([...set].sort(ascending), sorted);
          assert.deepEqual(Array.from({ length: set.size }, (_, at) => set.pick(at)).sort(ascending), sorted);
        }
      }),
    );
  });
});

/** Slots with load and free memory; out of use where free is below 0. */
const settings = fc.array(
  fc.record({ slot: fc.nat(40), load: fc.constantFrom(0, 0.1, 0.25, 0.5, 0.9, 1), free: fc.constantFrom(-1, 0, 1, 5, 5, 9, 100) }),
  { maxLength: 80 },
);

describe('scheduler: load tree', () => {
  it('gives every slot with room once, the least loaded first, and knows the most that is free', () => {
    fc.assert(
      fc.property(settings, fc.constantFrom(0, 1, 5, 6, 100, 101), (todo, room) => {
        const tree = new LoadTree();
        const model = new Map<number, { load: number; free: number }>();
        for (const { slot, load, free } of todo) {
          tree.set(slot, free < 0 ? Infinity : load, free);
          model.set(slot, { load, free });
        }
        const found = [...tree.leastLoaded(room)];
        const fits = [...model].filter(([, { free }]) => free >= room);
        assert.deepEqual([...found].sort(ascending), fits.map(([slot]) => slot).sort(ascending));
        const loads = found.map((slot) => model.get(slot)?.load ?? 0);
        assert.deepEqual(loads, [...loads].sort(ascending));
        assert.equal(tree.mostFree, Math.max(-1, ...Array.from(model.values(), ({ free }) => free)));
      }),
    );
  });
});

describe('scheduler: order by free memory', () => {
  it('is the sorted list of what was set last', () => {
    fc.assert(
      fc.property(settings, fc.constantFrom(-5, 0, 1, 5, 6, 100, 101), (todo, room) => {
        const order = new FreeOrder();
        const model = new Map<number, number>();
        for (const { slot, free } of todo) {
          order.set(slot, free);
          model.set(slot, free);
          const sorted = [...model].filter((pair) => pair[1] >= 0).sort((a, b) => a[1] - b[1] || a[0] - b[0]);
          assert.deepEqual(
            [...order.from(-1)],
            sorted.map(([there]) => there),
          );
        }
        const fits = [...model].filter(([, free]) => free >= 0 && free >= room);
        assert.equal(order.count(room), fits.length);
        assert.deepEqual([...order.from(room)].sort(ascending), fits.map(([slot]) => slot).sort(ascending));
        assert.equal(order.size, order.count(-1));
      }),
    );
  });
});
