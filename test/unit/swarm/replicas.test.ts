import assert from 'node:assert/strict';
import fc from 'fast-check';
import { mergeWants, type ReplicaView, replicasFor, wantLastsMs } from '../../../src/drivers/swarm/replicas.ts';

const rules = { settleMs: 60_000, lingerMs: 600_000 };
const view = (more: Partial<ReplicaView>): ReplicaView => ({
  now: 1_000_000,
  wanted: 0,
  current: 0,
  fullAt: 1_000_000,
  usedAt: 1_000_000,
  pressed: false,
  ...more,
});

describe('how many replicas a service has', () => {
  it('as many as are wanted, at once', () => {
    assert.equal(replicasFor(view({ wanted: 5, current: 2 }), rules), 5);
    assert.equal(replicasFor(view({ wanted: 1, current: 0 }), rules), 1);
  });

  it('what was needed stays for a while, and no longer', () => {
    assert.equal(replicasFor(view({ wanted: 2, current: 5, fullAt: 1_000_000 - 59_999 }), rules), 5);
    assert.equal(replicasFor(view({ wanted: 2, current: 5, fullAt: 1_000_000 - 60_000 }), rules), 2);
  });

  it('none when nobody has used it for long', () => {
    assert.equal(replicasFor(view({ current: 5, fullAt: 0, usedAt: 1_000_000 - 599_999 }), rules), 5);
    assert.equal(replicasFor(view({ current: 5, fullAt: 0, usedAt: 1_000_000 - 600_000 }), rules), 0);
  });

  it('no more than wanted where the swarm lacks room', () => {
    assert.equal(replicasFor(view({ wanted: 1, current: 5, pressed: true }), rules), 1);
    assert.equal(replicasFor(view({ wanted: 0, current: 5, pressed: true }), rules), 0);
  });

  it('never fewer than wanted, never more than there were or are wanted', () => {
    const number = fc.nat(1_000);
    const time = fc.nat(2_000_000);
    fc.assert(
      fc.property(number, number, time, time, time, fc.boolean(), (wanted, current, now, fullAt, usedAt, pressed) => {
        const replicas = replicasFor({ wanted, current, now, fullAt, usedAt, pressed }, rules);
        assert.ok(replicas >= wanted && replicas <= Math.max(wanted, current));
      }),
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

  it('nothing is left of one that wants none, or has not said so for long', () => {
    const { labels } = mergeWants(mergeWants({}, 'a', 3, now).labels, 'b', 2, now);
    assert.deepEqual(mergeWants(labels, 'a', 0, now + 1), { labels: { 'katafleet.want.b': `2@${now}` }, replicas: 2 });
    assert.deepEqual(mergeWants(labels, 'a', 1, now + wantLastsMs).replicas, 1);
  });

  it('what makes no sense counts for nothing', () => {
    const garbage = Object.fromEntries(
      ['', 'x', '3', '-4@1', '1e9', `2.5@${now}`, `NaN@${now}`].map((value, at) => [`katafleet.want.g${at}`, value]),
    );
    assert.deepEqual(mergeWants(garbage, 'a', 2, now), { labels: { 'katafleet.want.a': `2@${now}` }, replicas: 2 });
  });
});
