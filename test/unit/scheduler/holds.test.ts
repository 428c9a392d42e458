import assert from 'node:assert/strict';
import { MiB } from '../../../src/base/units.ts';
import { nodeName } from '../../support/cluster.ts';
import { PassingTime, scheduling } from '../../support/scheduling.ts';

const GiB = 1024;
const node = nodeName(0);
const idleMemory = 16 * MiB;

/** One node with idle sandboxes of a pool. */
function withIdle(count: number, pool: string, memory = 8 * GiB) {
  const parts = scheduling(1, memory * MiB);
  parts.cluster.reserve(node, count * idleMemory);
  parts.cluster.setIdle(node, pool, count);
  return parts;
}

/** One node of 8 GiB, on which runs last as long as their `lastsMs`, or as long as `lasts` says. */
function oneNode(lasts = new Map<string, number>()) {
  const parts = scheduling(1, 8 * GiB * MiB);
  const time = new PassingTime(parts, ({ id, value }) => lasts.get(id) ?? value.lastsMs ?? 1_000);
  return { ...parts, time, lasts };
}

describe('holds: what gives way', () => {
  it('idle sandboxes give way to a run that is as large as the node, and it starts', () => {
    const parts = withIdle(2, 'other');
    const time = new PassingTime(parts, () => 1_000);
    const big = parts.submit(8 * GiB);
    time.pass(2_000);
    assert.deepEqual(time.gaveWay, [{ node, bytes: 2 * idleMemory, for: big }]);
    assert.ok(time.begun.has(big));
    const small = parts.submit(512, { tenant: 'other', since: time.now });
    time.pass(2_000);
    assert.ok(time.begun.has(small), 'and others after it');
  });

  it('an idle sandbox of the run’s own pool stays for it', () => {
    const parts = withIdle(3, 'a');
    const big = parts.submit(8 * GiB);
    for (let now = 0; now <= 600; now += 100) assert.equal(parts.scheduler.next(now), undefined);
    assert.deepEqual(Array.from(parts.scheduler.giveWay(600)), [{ node, bytes: 2 * idleMemory, for: big, pool: 'a' }]);
    parts.cluster.setIdle(node, 'a', 1);
    parts.cluster.release(node, 2 * idleMemory);
    const next = parts.scheduler.next(700);
    assert.deepEqual(next?.decision, { kind: 'place', node, warm: true, imagePresent: true });
  });

  it('nothing gives way where that does not make enough room, or where a run will end in a moment', () => {
    const parts = withIdle(2, 'other');
    const { cluster, scheduler, submit } = parts;
    cluster.reserve(node, 4 * GiB * MiB);
    submit(8 * GiB);
    for (let now = 0; now < 60_000; now += 100) {
      scheduler.next(now);
      assert.deepEqual(Array.from(scheduler.giveWay(now)), []);
    }
    submit(4 * GiB, { since: 60_000 });
    scheduler.next(60_100);
    assert.deepEqual(Array.from(scheduler.giveWay(60_100)), []);
  });

  it('a node is asked again as long as its run has no room, and its pools get no memory for idle sandboxes meanwhile', () => {
    const { cluster, scheduler, submit } = withIdle(2, 'other');
    submit(8 * GiB);
    let asked = 0;
    for (let now = 0; now < 5_000; now += 100) {
      scheduler.next(now);
      asked += Array.from(scheduler.giveWay(now)).length;
      assert.equal(cluster.reserveIdle(node, 1), now < 500 && cluster.reserve(node, 0), String(now));
      if (now < 500) cluster.release(node, 1);
    }
    assert.equal(asked, 5);
  });

  it('sandboxes that are kept for sessions give way too', () => {
    const { cluster, scheduler, submit } = scheduling(1, 8 * GiB * MiB);
    cluster.reserve(node, 2 * GiB * MiB);
    cluster.setKept(node, 2 * GiB * MiB);
    submit(7 * GiB);
    for (let now = 0; now <= 600; now += 100) scheduler.next(now);
    assert.deepEqual(
      Array.from(scheduler.giveWay(600), ({ bytes }) => bytes),
      [GiB * MiB],
    );
    cluster.setKept(node, 0);
    cluster.release(node, 2 * GiB * MiB);
    assert.equal(scheduler.next(700)?.decision.kind, 'place');
  });

  it('the node is taken where the least must give way', () => {
    const { cluster, scheduler, submit } = scheduling(3, 1 * GiB * MiB);
    for (const [index, count] of [6, 2, 4].entries()) {
      cluster.reserve(nodeName(index), 624 * MiB + count * idleMemory);
      cluster.setIdle(nodeName(index), 'other', count);
    }
    submit(400);
    for (let now = 0; now <= 600; now += 100) scheduler.next(now);
    assert.deepEqual(
      Array.from(scheduler.giveWay(600), (one) => one.node),
      [nodeName(1)],
    );
  });
});

describe('holds: who may use the memory nonetheless', () => {
  it('runs of a higher priority ignore the hold of a lower one', () => {
    const { cluster, submit, time } = oneNode();
    submit(GiB, { tenant: 'long' }, { lastsMs: 3_600_000 });
    time.pass(100);
    const big = submit(7.5 * GiB, { tenant: 'low', priority: 0, since: 100 });
    time.pass(6_000);
    assert.equal(cluster.node(node)?.heldFor, big);
    const urgent = Array.from({ length: 5 }, () => submit(512, { tenant: 'vip', priority: 9, since: time.now }, { lastsMs: 60_000 }));
    const later = submit(513, { tenant: 'low', priority: 0, since: time.now });
    time.pass(200);
    assert.deepEqual(
      urgent.map((id) => time.begun.has(id)),
      urgent.map(() => true),
    );
    assert.equal(time.begun.has(later), false, 'one behind it does not');
  });

  it('a run that ends before the held one can start is let in, one that lasts longer is not', () => {
    const { submit, time } = oneNode();
    submit(GiB, { tenant: 'long' }, { lastsMs: 60_000 });
    time.pass(100);
    const big = submit(8 * GiB, { tenant: 'big', since: 100 }, { lastsMs: 1_000 });
    time.pass(6_000);
    const short = submit(512, { tenant: 'z', since: time.now }, { lastsMs: 30_000 });
    const long = submit(513, { tenant: 'z', since: time.now }, { lastsMs: 58_000 });
    const unknown = submit(514, { tenant: 'z', since: time.now });
    time.pass(1_000);
    assert.deepEqual(
      [short, long, unknown].map((id) => time.begun.has(id)),
      [true, false, false],
    );
    time.pass(60_000);
    assert.ok((time.begun.get(big) ?? Infinity) <= 60_500, 'it starts when it was promised to');
  });

  it('a run that leaves enough room is let in however long it lasts', () => {
    const { submit, time } = oneNode();
    submit(3 * GiB, { tenant: 'long' }, { lastsMs: 60_000 });
    submit(3 * GiB, { tenant: 'long' }, { lastsMs: 20_000 });
    time.pass(100);
    const big = submit(4 * GiB, { tenant: 'big', since: 100 }, { lastsMs: 1_000 });
    time.pass(6_000);
    const fits = [GiB, 100].map((size) => submit(size, { tenant: 'z', since: time.now }, { lastsMs: 3_600_000 }));
    time.pass(1_000);
    assert.deepEqual(
      fits.map((id) => time.begun.has(id)),
      [true, false],
    );
    time.pass(15_000);
    assert.ok((time.begun.get(big) ?? Infinity) <= 20_500);
  });
});

describe('holds: how long', () => {
  it('a hold ends without progress, and is not made again at once', () => {
    const { cluster, scheduler, submit } = scheduling(1, 8 * GiB * MiB);
    cluster.reserve(node, GiB * MiB); // nobody knows what it is, and it does not go
    const big = submit(8 * GiB);
    const small = submit(512, { tenant: 'z', since: 6_000 });
    let held = 0;
    let longest = 0;
    let placedAt: number | undefined;
    for (let now = 0; now < 400_000; now += 100) {
      if (scheduler.next(now)?.entry.id === small) placedAt = now;
      held = cluster.node(node)?.heldFor === big ? held + 100 : 0;
      longest = Math.max(longest, held);
    }
    assert.ok(placedAt !== undefined, 'others run meanwhile');
    assert.ok(longest > 0 && longest <= 61_000, `held for ${longest} ms`);
  });

  it('no node is held where even an empty one has no room', () => {
    const { cluster, scheduler, submit } = scheduling(2, 8 * GiB * MiB);
    cluster.setNode({ ...(cluster.node(node)?.facts ?? assert.fail()), memory: 16 * GiB * MiB });
    cluster.setHealth(node, 'down');
    submit(12 * GiB);
    for (let now = 0; now < 20_000; now += 100) scheduler.next(now);
    assert.equal(cluster.holds, 0);
  });

  it('a hold survives its run: the next one of the shape has its age', () => {
    const { cluster, scheduler, queue, submit } = scheduling(1, 8 * GiB * MiB);
    cluster.reserve(node, GiB * MiB);
    const [first, second] = [submit(8 * GiB), submit(8 * GiB, { since: 5_000 })];
    for (let now = 0; now <= 6_000; now += 100) scheduler.next(now);
    assert.equal(cluster.node(node)?.heldFor, first);
    queue.remove(first);
    scheduler.forget(first);
    assert.equal(cluster.node(node)?.heldFor, second);
    queue.remove(second);
    scheduler.forget(second);
    assert.equal(cluster.holds, 0);
  });

  it('a hold ends when its run has left the queue, even if nobody says so', () => {
    const { cluster, scheduler, queue, submit } = scheduling(1, 8 * GiB * MiB);
    cluster.reserve(node, GiB * MiB);
    const wait = (from: number) => {
      for (let now = from; now <= from + 6_000; now += 100) scheduler.next(now);
      return cluster.node(node)?.heldFor;
    };
    const [first, other] = [submit(8 * GiB), submit(7.5 * GiB, { since: 5_000 })];
    assert.equal(wait(0), first);
    queue.remove(first);
    assert.equal(wait(6_100), other);
    queue.remove(other);
    scheduler.next(13_000);
    assert.equal(cluster.holds, 0);
  });

  it('a node is held for one shape at a time, although several wait for its label', () => {
    const { cluster, scheduler, submit } = scheduling(40, 8 * GiB * MiB);
    cluster.setNode({ ...(cluster.node(node)?.facts ?? assert.fail()), labels: { gpu: 'yes' } });
    cluster.reserve(node, GiB * MiB);
    const gpu = { constraints: ['gpu==yes'] };
    submit(8 * GiB, { tenant: 'a' }, { ...gpu, lastsMs: 1_000 });
    const urgent = submit(7.5 * GiB, { tenant: 'b', priority: 9 }, { ...gpu, lastsMs: 1_000 });
    for (let now = 0; now <= 20_000; now += 100) {
      scheduler.next(now);
      assert.ok(cluster.holds <= 1, `${cluster.holds} holds`);
    }
    assert.equal(cluster.node(node)?.heldFor, urgent);
  });

  it('a run of a higher level takes the place of the last hold', () => {
    const { cluster, scheduler, submit } = scheduling(2, 8 * GiB * MiB);
    for (const index of [0, 1]) cluster.reserve(nodeName(index), GiB * MiB);
    const low = submit(8 * GiB, { tenant: 'low', priority: 0 });
    for (let now = 0; now <= 6_000; now += 100) scheduler.next(now);
    assert.ok(cluster.heldNode(low));
    const high = submit(7.5 * GiB, { tenant: 'high', priority: 9, since: 6_000 });
    for (let now = 6_000; now <= 12_000; now += 100) scheduler.next(now);
    assert.deepEqual([cluster.heldNode(low), cluster.heldNode(high) !== undefined], [undefined, true]);
  });
});
