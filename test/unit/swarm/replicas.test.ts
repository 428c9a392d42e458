import assert from 'node:assert/strict';
import fc from 'fast-check';
import { mergeWants, type ReplicaView, replicasFor, wantLastsMs } from '../../../src/drivers/swarm/services/replicas.ts';

const rules = { starting: 1_000, settleMs: 60_000, lingerMs: 600_000 };
const view = (more: Partial<ReplicaView>): ReplicaView => ({
  now: 1_000_000,
  wanted: 0,
  waiting: 0,
  current: 0,
  fullAt: 1_000_000,
  usedAt: 1_000_000,
  pressed: false,
  ...more,
});

describe('how many replicas a service has', () => {
  it('rises to the wanted number at once', () => {
    assert.equal(replicasFor(view({ wanted: 5, current: 2 }), rules), 5);
    assert.equal(replicasFor(view({ wanted: 1, current: 0 }), rules), 1);
  });

  it('keeps the highest number for a while only', () => {
    assert.equal(replicasFor(view({ wanted: 2, current: 5, fullAt: 1_000_000 - 59_999 }), rules), 5);
    assert.equal(replicasFor(view({ wanted: 2, current: 5, fullAt: 1_000_000 - 60_000 }), rules), 2);
  });

  it('falls to 0 if the service is unused for long', () => {
    assert.equal(replicasFor(view({ current: 5, fullAt: 0, usedAt: 1_000_000 - 599_999 }), rules), 5);
    assert.equal(replicasFor(view({ current: 5, fullAt: 0, usedAt: 1_000_000 - 600_000 }), rules), 0);
  });

  it('is not above the wanted number if the swarm lacks room', () => {
    assert.equal(replicasFor(view({ wanted: 1, current: 5, pressed: true }), rules), 1);
    assert.equal(replicasFor(view({ wanted: 0, current: 5, pressed: true }), rules), 0);
  });

  it('rises by no more than can start at once, further when those have dialled in, and does not fall meanwhile', () => {
    const few = { ...rules, starting: 24 };
    assert.equal(replicasFor(view({ wanted: 200, waiting: 200 }), few), 24);
    assert.equal(replicasFor(view({ wanted: 200, waiting: 190, current: 24 }), few), 34);
    assert.equal(replicasFor(view({ wanted: 150, waiting: 150, current: 60 }), few), 60);
    assert.equal(replicasFor(view({ wanted: 30, waiting: 10, current: 24 }), few), 30);
    assert.equal(replicasFor(view({ wanted: 200, waiting: 200, current: 24, pressed: true }), few), 24);
  });

  it('never fewer than wanted, never more than there were or are wanted', () => {
    const number = fc.nat(1_000);
    const time = fc.nat(2_000_000);
    fc.assert(
      fc.property(
        number,
        number,
        number,
        number,
        time,
        time,
        time,
        fc.boolean(),
        (out, waiting, starting, current, now, fullAt, usedAt, pressed) => {
          const wanted = out + waiting;
          const replicas = replicasFor({ now, wanted, waiting, current, fullAt, usedAt, pressed }, { ...rules, starting });
          assert.ok(replicas >= out + Math.min(waiting, starting) && replicas <= Math.max(wanted, current));
        },
      ),
    );
  });
});

describe('what several katafleets want of a service', () => {
  const now = 10_000_000;

  it('adds up; each writes its own number, and other labels stay', () => {
    const first = mergeWants({ other: 'label' }, 'a', 3, now);
    assert.deepEqual(first, { labels: { other: 'label', 'katafleet.want.a': `3@${now}` }, replicas: 3 });
    const both = mergeWants(first.labels, 'b', 2, now + 1);
    assert.equal(both.replicas, 5);
    const less = mergeWants(both.labels, 'a', 1, now + 2);
    assert.deepEqual([less.replicas, less.labels['katafleet.want.a']], [3, `1@${now + 2}`]);
  });

  it('drops the share of a katafleet that wants none or has not renewed it for long', () => {
    const { labels } = mergeWants(mergeWants({}, 'a', 3, now).labels, 'b', 2, now);
    assert.deepEqual(mergeWants(labels, 'a', 0, now + 1), { labels: { 'katafleet.want.b': `2@${now}` }, replicas: 2 });
    assert.deepEqual(mergeWants(labels, 'a', 1, now + wantLastsMs).replicas, 1);
  });

  it('ignores entries that make no sense', () => {
    const garbage = Object.fromEntries(
      ['', 'x', '3', '-4@1', '1e9', `2.5@${now}`, `NaN@${now}`, `0@${now}`, `1e3@${now}`, ` 3@${now}`, `3@${now}@`, `9999999@${now}`].map(
        (value, at) => [`katafleet.want.g${at}`, value],
      ),
    );
    assert.deepEqual(mergeWants(garbage, 'a', 2, now), { labels: { 'katafleet.want.a': `2@${now}` }, replicas: 2 });
  });

  it('ignores entries whose time is far in the future', () => {
    for (const at of [now + wantLastsMs, Number.MAX_SAFE_INTEGER]) {
      assert.equal(mergeWants({ 'katafleet.want.b': `7@${at}` }, 'a', 1, now).replicas, 1);
    }
    assert.equal(mergeWants({ 'katafleet.want.b': `7@${now + 1_000}` }, 'a', 1, now).replicas, 8);
  });

  it('is the sum of what each said last, in whatever order they say it', () => {
    const saying = fc.record({ who: fc.constantFrom('a', 'b', 'c'), wants: fc.nat(50), after: fc.nat(60_000) });
    fc.assert(
      fc.property(fc.array(saying, { maxLength: 20 }), (sayings) => {
        let [time, labels]: [number, Record<string, string>] = [now, {}];
        const last = new Map<string, { wants: number; at: number }>();
        for (const { who, wants, after } of sayings) {
          time += after;
          const merged = mergeWants(labels, who, wants, time);
          labels = merged.labels;
          last.set(who, { wants, at: time });
          const sum = Array.from(last.values()).reduce((all, one) => all + (time - one.at < wantLastsMs ? one.wants : 0), 0);
          assert.equal(merged.replicas, sum);
          assert.ok(Object.keys(labels).length <= 3);
        }
      }),
    );
  });
});

describe('a pool over time', () => {
  it('has what is wanted, falls only after a while, and to nothing when nobody comes', () => {
    const moment = fc.record({ wanted: fc.nat(8), after: fc.integer({ min: 1, max: 90_000 }), pressed: fc.boolean() });
    fc.assert(
      fc.property(fc.array(moment, { minLength: 1, maxLength: 60 }), (moments) => {
        let [now, current, fullAt, usedAt] = [0, 0, 0, 0];
        for (const { wanted, after, pressed } of moments) {
          now += after;
          if (wanted > 0) usedAt = now;
          if (wanted >= current) fullAt = now;
          const replicas = replicasFor({ now, wanted, waiting: wanted, current, fullAt, usedAt, pressed }, rules);
          assert.ok(replicas >= wanted);
          if (replicas < current && !pressed) assert.ok(wanted > 0 ? now - fullAt >= rules.settleMs : now - usedAt >= rules.lingerMs);
          current = replicas;
        }
        const idle = { wanted: 0, waiting: 0, current, fullAt, usedAt, pressed: false };
        assert.equal(replicasFor({ ...idle, now: usedAt + rules.lingerMs }, rules), 0);
      }),
    );
  });
});
