import assert from 'node:assert/strict';
import fc from 'fast-check';
import { MiB } from '../../../src/base/units.ts';
import { nodeName } from '../../support/cluster.ts';
import { PassingTime, scheduling } from '../../support/scheduling.ts';

const GiB = 1024;
const memory = 4 * GiB;
const idleMemory = 16 * MiB;

/** A run that somebody waits for. Sizes are MiB, times ms. */
const victim = fc.record({
  size: fc.constantFrom(100, 512, 1_000, 2 * GiB, memory - 16, memory),
  priority: fc.constantFrom(0, 4, 5),
  lastsMs: fc.constantFrom(500, 10_000, 60_000),
  at: fc.constantFrom(0, 2_000, 20_000),
});
const fleet = fc.record({
  nodes: fc.integer({ min: 1, max: 3 }),
  /** Idle sandboxes of another pool on each node. */
  idle: fc.constantFrom(0, 1, 5),
  victims: fc.array(victim, { minLength: 1, maxLength: 5 }),
  /** Runs of the load that never ends: their size, their bound, and the part of it that they take. */
  load: fc.record({ size: fc.constantFrom(256, 512, 700), lastsMs: fc.constantFrom(2_000, 20_000), part: fc.constantFrom(0.1, 0.5, 1) }),
  /** Whether each run of the load is of a tenant of its own. */
  strangers: fc.boolean(),
  /** Runs of a higher priority, which come to an end. */
  urgent: fc.nat(40),
});
type Fleet = typeof fleet extends fc.Arbitrary<infer F> ? F : never;

/** How long a held node stays idle at most, if what is on it goes when it is asked to: a removal, and the step after it (ms). */
const idleMs = 400;

/** Lets the fleet run under its load until all victims have begun, and checks its books and its holds at each step. */
function underLoad({ nodes, idle, victims, load, strangers, urgent }: Fleet, untilMs: number) {
  const parts = scheduling(nodes, memory * MiB);
  const { cluster, queue, submit } = parts;
  for (let index = 0; index < nodes; index += 1) {
    cluster.reserve(nodeName(index), idle * idleMemory);
    cluster.setIdle(nodeName(index), 'other', idle);
  }
  let made = 0;
  const time = new PassingTime(parts, ({ value, tenant }) => (value.lastsMs ?? 0) * (tenant.startsWith('load') ? load.part : 1));
  const waiting = new Map(victims.map((one, index) => [index, one]));
  const ids = new Map<number, string>();
  const idleFor = new Map<string, number>();
  let urgentLeft = urgent;
  const step = () => {
    for (const [index, { size, priority, lastsMs, at }] of waiting) {
      if (at > time.now) continue;
      waiting.delete(index);
      ids.set(index, submit(size, { tenant: `victim-${index}`, priority, since: time.now }, { lastsMs }));
    }
    const loads = Array.from({ length: made }, (_, index) => (strangers ? `load-${index}` : 'load')).slice(-20);
    const queued = strangers ? loads.filter((tenant) => queue.waitingOf(tenant) > 0).length : queue.waitingOf('load');
    for (let more = queued; more < 5; more += 1, made += 1)
      submit(load.size, { tenant: strangers ? `load-${made}` : 'load', since: time.now }, { lastsMs: load.lastsMs });
    for (; urgentLeft > 0 && queue.waitingOf('urgent') < 3; urgentLeft -= 1)
      submit(300, { tenant: 'urgent', priority: 9, since: time.now }, { lastsMs: 5_000 });
    for (const node of cluster.nodes()) {
      const { name } = node.facts;
      assert.ok(node.booked <= node.memory, `${name} has booked ${node.booked} of ${node.memory}`);
      const isIdle = node.heldFor !== undefined && node.stays.size === 0;
      idleFor.set(name, isIdle ? (idleFor.get(name) ?? 0) + 100 : 0);
      assert.ok((idleFor.get(name) ?? 0) <= idleMs, `${name} is held and idle for ${idleFor.get(name) ?? 0} ms at ${time.now}`);
    }
  };
  const isOver = () => ids.size === victims.length && Array.from(ids.values()).every((id) => time.begun.has(id));
  while (time.now < untilMs && !isOver()) time.pass(1_000, step);
  return { time, ids };
}

describe('scheduler: no starvation', () => {
  it('every run that fits on an empty node starts, under a load that never ends; no held node is idle for long', () => {
    fc.assert(
      fc.property(fleet, (described) => {
        const { time, ids } = underLoad(described, 500_000);
        assert.equal(ids.size, described.victims.length);
        for (const [index, id] of ids) {
          const begun = time.begun.get(id) ?? Infinity;
          const { priority, at } = described.victims[index] ?? assert.fail();
          // Ages to the load's level, waits for its patience, and for what is on a node, once for each victim before it.
          const most = at + (5 - priority + 1) * 30_000 + described.victims.length * (5_000 + 60_000 + 25_000) + described.urgent * 5_000;
          assert.ok(begun <= most, `victim ${index} began at ${begun}`);
        }
      }),
      { numRuns: 25 },
    );
  });

  it('a node with memory that does not come back is held for a minute at most, and other runs go on', () => {
    fc.assert(
      fc.property(fc.constantFrom(1, 100, 3_000), fc.constantFrom(memory, memory - 50), (stuck, size) => {
        const parts = scheduling(1, memory * MiB);
        const { cluster, submit } = parts;
        cluster.reserve(nodeName(0), stuck * MiB);
        const time = new PassingTime(parts, ({ value }) => value.lastsMs ?? 0);
        submit(size, { tenant: 'big' }, { lastsMs: 1_000 });
        let held = 0;
        let began = 0;
        time.pass(300_000, () => {
          held = cluster.node(nodeName(0))?.heldFor === undefined ? 0 : held + 100;
          assert.ok(held <= 75_000, `held for ${held} ms`); // 5 s for the run that is there, and as much again for its trace
          if (parts.queue.waitingOf('small') === 0) submit(200, { tenant: 'small', since: time.now }, { lastsMs: 5_000 });
          began = Math.max(began, ...time.begun.values());
        });
        assert.ok(began > 200_000, 'runs go on to the end');
      }),
      { numRuns: 6 },
    );
  });
});
