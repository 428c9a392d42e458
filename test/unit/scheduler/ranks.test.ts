import assert from 'node:assert/strict';
import fc from 'fast-check';
import { Ranks } from '../../../src/scheduler/queue/ranks.ts';

interface Run {
  id: string;
  priority: number;
  turn: number;
}

const place = (runs: readonly Run[], run: Run) =>
  1 + runs.filter(({ priority, turn }) => priority > run.priority || (priority === run.priority && turn < run.turn)).length;

describe('places in the queue', () => {
  it('are as if all runs were counted, whoever comes, comes back and leaves', () => {
    const step = fc.record({ priority: fc.nat(9), what: fc.constantFrom('back', 'back', 'front', 'leave'), which: fc.nat(1_000) });
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 400 }), (steps) => {
        const ranks = new Ranks();
        let runs: Run[] = [];
        let [last, first] = [0, 0];
        for (const [at, { priority, what, which }] of steps.entries()) {
          if (what === 'leave') {
            const gone = runs[which % Math.max(1, runs.length)];
            if (gone) ranks.remove(gone.id);
            runs = runs.filter((run) => run !== gone);
          } else {
            const id = `run-${at}`;
            ranks.add(id, priority, what === 'front' ? 'front' : 'back');
            runs.push({ id, priority, turn: what === 'front' ? (first -= 1) : (last += 1) });
          }
          const some = runs[which % Math.max(1, runs.length)];
          if (some) assert.equal(ranks.position(some.id), place(runs, some));
        }
        for (const run of runs) assert.equal(ranks.position(run.id), place(runs, run));
        assert.equal(ranks.position('nobody'), undefined);
      }),
    );
  });

  it('are found by a few steps among 100,000 runs, and nothing is kept of those that left', () => {
    const ranks = new Ranks();
    const runs = 100_000;
    for (let at = 0; at < runs; at += 1) ranks.add(`run-${at}`, 5, 'back');
    // Counting all runs would take 10,000 million steps here.
    for (let at = 0; at < runs; at += 1) assert.equal(ranks.position(`run-${at}`), at + 1);
    for (let at = 0; at < runs; at += 2) ranks.remove(`run-${at}`);
    for (let at = 1; at < runs; at += 2) assert.equal(ranks.position(`run-${at}`), (at + 1) / 2);
  });
});
