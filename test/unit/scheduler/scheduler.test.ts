import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { Wanted } from '../../../src/scheduler/place/placement.ts';
import { facts, nodeName, wanted } from '../../support/cluster.ts';
import { scheduling as setUp } from '../../support/scheduling.ts';

const MiB = 1024 ** 2;
/**
 * A fleet kept busy by runs of 512 MiB that end one at a time; tells when each of the watched runs was placed, which end
 * after a second.
 */
function underLoad(
  { cluster, scheduler, submit }: ReturnType<typeof setUp>,
  watched: readonly string[],
  until: number,
): Map<string, number> {
  const placed = new Map<string, number>();
  const running: string[] = [];
  const big: { node: string; memory: number; ends: number }[] = [];
  for (let now = 0; now < until && placed.size < watched.length; now += 50) {
    while (scheduler.queue.waitingOf('small') < 5) submit(512, { tenant: 'small', since: now });
    for (let next = scheduler.next(now); next; next = scheduler.next(now)) {
      const { entry, decision } = next;
      assert.ok(decision.kind === 'place');
      if (!watched.includes(entry.id)) {
        running.push(decision.node);
        continue;
      }
      placed.set(entry.id, now);
      big.push({ node: decision.node, memory: entry.memory, ends: now + 1_000 });
    }
    const ended = running.shift();
    if (ended !== undefined) cluster.release(ended, 512 * MiB);
    for (let first = big[0]; first && first.ends <= now; first = big[0]) {
      cluster.release(first.node, first.memory);
      big.shift();
    }
    for (const { booked, memory } of cluster.nodes()) assert.ok(booked <= memory);
  }
  return placed;
}

describe('scheduler: queue and fleet together', () => {
  it('a big run is not starved by small ones: a node’s memory is saved for it', () => {
    const parts = setUp(4);
    const big = parts.submit(4096, { tenant: 'big' });
    const placed = underLoad(parts, [big], 60_000);
    // Patience of 5 s, and then one node's eight runs end.
    assert.ok((placed.get(big) ?? Infinity) < 10_000, String(placed.get(big)));
    assert.equal(parts.cluster.holds, 0);
  });

  it('big runs of several tenants are not starved, although only one node may be held', () => {
    const parts = setUp(4);
    const big = Array.from({ length: 3 }, (_, index) => parts.submit(4096, { tenant: `big-${index}` }));
    const placed = underLoad(parts, big, 60_000);
    assert.deepEqual([...placed.keys()].sort(), big);
    assert.equal(parts.cluster.holds, 0);
  });

  it('memory saved for a run serves another run of the same shape if that one is next', () => {
    const { cluster, scheduler, submit } = setUp(1);
    const filler = submit(3072, { tenant: 'filler' });
    assert.equal(scheduler.next(0)?.entry.id, filler);
    const first = submit(2048, { tenant: 'first' });
    for (const now of [0, 6_000]) assert.equal(scheduler.next(now), undefined);
    assert.equal(cluster.heldNode(first)?.facts.name, nodeName(0));
    const urgent = submit(2048, { tenant: 'second', priority: 9 });
    assert.equal(scheduler.next(6_001), undefined);
    cluster.release(nodeName(0), 3072 * MiB);
    assert.deepEqual([scheduler.next(6_002)?.entry.id, scheduler.next(6_003)?.entry.id], [urgent, first]);
    assert.equal(cluster.holds, 0);
  });

  it('releases a held node when its run has left the queue, or the node is lost', () => {
    const { cluster, scheduler, submit } = setUp(2);
    for (let count = 0; count < 2; count += 1) {
      submit(3072, { tenant: 'filler' });
      scheduler.next(0);
    }
    const big = submit(4096);
    for (const now of [0, 6_000]) scheduler.next(now);
    const held = cluster.heldNode(big)?.facts.name ?? assert.fail();
    cluster.setHealth(held, 'down');
    scheduler.next(8_000);
    const other = cluster.heldNode(big)?.facts.name ?? assert.fail();
    assert.notEqual(other, held);
    scheduler.queue.remove(big);
    scheduler.forget(big);
    assert.deepEqual([cluster.holds, cluster.node(other)?.heldFor], [0, undefined]);
    // What comes next is passed over for a while before anything is saved for it.
    submit(4096);
    scheduler.next(8_100);
    assert.equal(cluster.holds, 0);
  });

  it('holds no more than a tenth of the nodes', () => {
    const { cluster, scheduler, submit } = setUp(30);
    for (let count = 0; count < 30; count += 1) {
      submit(3072, { tenant: 'filler' });
      scheduler.next(0);
    }
    for (let shape = 0; shape < 10; shape += 1) submit(4000 + shape);
    for (let now = 0; now < 20_000; now += 1_000) scheduler.next(now);
    assert.equal(cluster.holds, 3);
  });

  it('a run that no node can ever take leaves the queue at once, and one that none can take now waits', () => {
    const { cluster, scheduler, submit } = setUp(3);
    const never = submit(5000);
    const later = submit(4096, {}, { constraints: ['zone=='] });
    for (let index = 0; index < 3; index += 1) cluster.reserve(nodeName(index), 1);
    const next = scheduler.next(0);
    assert.deepEqual([next?.entry.id, next?.decision.kind], [never, 'reject']);
    assert.equal(scheduler.next(0), undefined);
    cluster.release(nodeName(1), 1);
    assert.deepEqual(scheduler.next(0)?.entry.id, later);
  });

  it('finds a place for a waiting run whenever there is one, whatever happened to the nodes', () => {
    const event = fc.record({
      what: fc.constantFrom('submit', 'submit', 'end', 'end', 'idle', 'health', 'images', 'cordon', 'memory', 'hold'),
      node: fc.nat(4),
      size: fc.constantFrom(512, 1024, 3000),
      on: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(event, { maxLength: 80, size: 'max' }), (events) => {
        const parts = setUp(5, 4086 * MiB);
        const { cluster, scheduler, queue, submit } = parts;
        const waitingJobs = new Map<string, Wanted>();
        const running: { node: string; memory: number }[] = [];
        let now = 0;
        for (const { what, node, size, on } of events) {
          const name = nodeName(node);
          now += 700;
          if (what === 'submit')
            waitingJobs.set(
              submit(size, { since: now }, on ? {} : { image: 'b', pool: 'b' }),
              wanted({ memory: size * MiB, ...(on ? {} : { image: 'b', pool: 'b' }) }),
            );
          else if (what === 'idle') cluster.setIdle(name, on ? 'a' : 'b', size === 512 ? 1 : 0);
          else if (what === 'health') cluster.setHealth(name, on ? 'ready' : 'down');
          else if (what === 'images') cluster.setImages(name, on ? ['a', 'b'] : ['b']);
          else if (what === 'cordon') cluster.setCordoned(name, on);
          else if (what === 'hold' && on) cluster.hold(name, 'nobody');
          else if (what === 'hold') cluster.unhold('nobody');
          else if (what === 'memory') cluster.setNode(facts(name, { memory: (on ? 4086 : 2038) * MiB }));
          else {
            const ended = running.splice(node % Math.max(1, running.length), 1)[0];
            if (ended) cluster.release(ended.node, ended.memory);
          }
          for (let next = scheduler.next(now); next; next = scheduler.next(now)) {
            waitingJobs.delete(next.entry.id);
            if (next.decision.kind !== 'place') continue;
            running.push({ node: next.decision.node, memory: next.entry.memory - (next.decision.warm ? 16 * MiB : 0) });
          }
          assert.equal(queue.size, waitingJobs.size);
          for (const [id, job] of waitingJobs) {
            const held = Array.from(cluster.nodes()).some(({ heldFor }) => heldFor === id);
            if (!held) assert.equal(scheduler.decide(job).kind, 'wait', id);
          }
        }
      }),
      { numRuns: 300 },
    );
  });

  it('books what it decides, and never more than there is', () => {
    const sizes = fc.array(fc.record({ size: fc.constantFrom(16, 100, 512, 1000, 4096), tenant: fc.constantFrom('a', 'b') }), {
      maxLength: 40,
    });
    fc.assert(
      fc.property(sizes, fc.nat(3), (runs, warm) => {
        const { cluster, scheduler, submit } = setUp(3);
        for (let index = 0; index < warm; index += 1) {
          cluster.reserve(nodeName(index), 16 * MiB);
          cluster.setIdle(nodeName(index), 'a', 1);
        }
        for (const { size, tenant } of runs) submit(size, { tenant });
        let booked = warm * 16 * MiB;
        for (let next = scheduler.next(0); next; next = scheduler.next(0)) {
          const { entry, decision } = next;
          assert.equal(decision.kind, 'place');
          if (decision.kind !== 'place') continue;
          booked += entry.memory - (decision.warm ? 16 * MiB : 0);
          if (decision.warm) cluster.setIdle(decision.node, 'a', 0);
        }
        assert.equal(
          Array.from(cluster.nodes()).reduce((sum, node) => sum + node.booked, 0),
          booked,
        );
        for (const { memory, booked: there } of cluster.nodes()) assert.ok(there <= memory);
      }),
    );
  });
});
