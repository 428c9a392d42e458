import assert from 'node:assert/strict';
import { type ErrorCode, KatafleetError } from '../../../src/model/errors.ts';
import {
  type ServiceTarget,
  firstState,
  type Happening,
  noReport,
  type PoolEffect,
  type PoolState,
  type Seen,
} from '../../../src/drivers/swarm/demand/pool-state.ts';
import { next } from '../../../src/drivers/swarm/demand/next.ts';
import { wantLastsMs } from '../../../src/drivers/swarm/services/replicas.ts';

const minute = 60_000;
const rules = { settleMs: minute, lingerMs: 10 * minute, patienceMs: 30_000 };
const shape = { hash: 'h1', address: '10.0.0.7:7421' };
const other = { hash: 'h2', address: '10.0.0.7:7421' };
const fresh = firstState({ name: 's', rules, shape }, 0);
const calm: Seen = { now: 1_000_000, waiting: [], handedOut: 0, starting: 100 };
const { now } = calm;
const target = (replicas: number, more: Partial<ServiceTarget> = {}): ServiceTarget => ({ replicas, hash: 'h1', excluded: [], ...more });
/** The state of a pool whose service was set to these replicas just now. */
const has = (replicas: number, more: Partial<PoolState> = {}): PoolState => ({
  ...fresh,
  applied: { ...target(replicas), at: now },
  fullAt: now,
  usedAt: now,
  ...more,
});
const [gone, refused] = [new KatafleetError('engine.unreachable', 'gone'), new KatafleetError('image.unknown', 'no such image')];
const early = { livedMs: 10, unused: true, spokenTo: false, ended: true };
const braking = { early: 10, fewerAt: -Infinity };

/** Describes effects in a few words, and errors by their code. */
const words = (effects: readonly PoolEffect[]) =>
  effects.map((effect) => {
    switch (effect.do) {
      case 'wake':
      case 'watch':
        return `${effect.do} ${effect.ms}`;
      case 'apply':
        return `apply ${effect.target.replicas} ${effect.target.hash ?? '-'} ${effect.target.excluded.join()}`.trim();
      case 'look':
        return `look from ${effect.from - now}`;
      case 'give up spares':
        return `give up spares but ${effect.but ?? 'none'}`;
      case 'refuse': {
        const { whom, error } = effect;
        const who = whom === 'all' ? 'all' : 'last' in whom ? `last ${whom.last}` : `until ${whom.until - now}`;
        return `refuse ${who} ${(error as { code?: ErrorCode }).code ?? ''}`;
      }
      case 'lacking':
        return `lacking ${effect.nodes.join()}`;
      case 'pressure':
      case 'trouble':
        return effect.do;
    }
  });

interface Case {
  it: string;
  state: PoolState;
  event: Happening;
  seen?: Partial<Seen>;
  /** Expected fields of the state afterwards. */
  then?: Partial<PoolState>;
  effects: string[];
}

const pending = { ...noReport, words: ['1 task: waits to be placed'], coming: 1 };
const full = { ...noReport, words: ['2 tasks: no suitable node'], insufficient: true };
const waits = (...ages: number[]): Partial<Seen> => ({ waiting: ages.map((age) => now - age) });

// A row for each case.
// prettier-ignore
const tables: Record<string, Case[]> = {
  'when a request waits': [
    { it: 'compares the numbers at once if there is no replica', state: has(0), event: { type: 'waits' }, seen: waits(0), then: { wakeAt: now, watching: true }, effects: ['wake 0', 'watch 1000'] },
    { it: 'waits for more requests if there are replicas', state: has(1), event: { type: 'waits' }, seen: waits(0), then: { wakeAt: now + 100 }, effects: ['wake 100', 'watch 1000'] },
    { it: 'sets no second timer', state: has(1, { wakeAt: now + 50, watching: true }), event: { type: 'waits' }, seen: waits(0), then: { wakeAt: now + 50 }, effects: [] },
    { it: 'replaces a timer that is set for later', state: has(1, { wakeAt: now + 5_000, watching: true }), event: { type: 'waits' }, seen: waits(0), effects: ['wake 100'] },
    { it: 'keeps the pause after a failure', state: has(0, { failures: 2, watching: true }), event: { type: 'waits' }, seen: waits(0), effects: ['wake 500'] },
  ],
  'when it compares the numbers': [
    { it: 'sets as many replicas as are wanted', state: has(0), event: { type: 'woken' }, seen: { ...waits(0, 0), handedOut: 1 }, then: { busy: 'applying' }, effects: ['apply 3 h1'] },
    { it: 'sets no more than can start at once', state: has(0), event: { type: 'woken' }, seen: { ...waits(0, 0, 0), starting: 2 }, effects: ['apply 2 h1'] },
    { it: 'does nothing while a call is under way', state: has(0, { busy: 'applying' }), event: { type: 'woken' }, seen: waits(0), effects: [] },
    { it: 'makes no call if nothing has changed, and compares again later', state: has(2), event: { type: 'woken' }, seen: { handedOut: 2 }, effects: ['wake 5000'] },
    { it: 'stops comparing without replicas and requests', state: has(0), event: { type: 'woken' }, effects: [] },
    { it: 'keeps unwanted replicas for a while', state: has(3), event: { type: 'woken' }, seen: { handedOut: 1 }, effects: ['wake 5000'] },
    { it: 'removes unwanted replicas after a while', state: has(3, { fullAt: now - minute }), event: { type: 'woken' }, seen: { handedOut: 1 }, effects: ['apply 1 h1'] },
    { it: 'removes unwanted replicas at once under pressure', state: has(3, { pressed: true }), event: { type: 'woken' }, seen: { handedOut: 1 }, effects: ['apply 1 h1'] },
    { it: 'removes unwanted replicas at once if tasks end as soon as they dial in', state: has(3, { brake: braking }), event: { type: 'woken' }, seen: { handedOut: 1 }, effects: ['apply 1 h1'] },
    { it: 'removes the replicas of a service that delivered no task', state: has(3, { fruitless: true, usedAt: now - 30_000 }), event: { type: 'woken' }, effects: ['apply 0 h1'] },
    { it: 'removes the replicas of a service that is unused for long', state: has(3, { usedAt: now - 10 * minute }), event: { type: 'woken' }, effects: ['apply 0 h1'] },
    { it: 'renews its share before it expires', state: has(2, { applied: { ...target(2), at: now - wantLastsMs / 2 - 1 } }), event: { type: 'woken' }, seen: { handedOut: 2 }, effects: ['apply 2 h1'] },
    { it: 'sets the nodes that lack the image', state: has(2, { excluded: ['n2'] }), event: { type: 'woken' }, seen: { handedOut: 2 }, effects: ['apply 2 h1 n2'] },
    { it: 'leaves an adopted service alone that no run has used', state: { ...has(2), shape: undefined }, event: { type: 'woken' }, effects: ['wake 5000'] },
  ],
  'when the service was set': [
    { it: 'checks that more tasks dial in', state: has(1, { busy: 'applying' }), event: { type: 'applied', target: target(2) }, seen: { handedOut: 2 }, then: { busy: 'no', unconfirmed: true, applied: { ...target(2), at: now } }, effects: ['give up spares but h1', 'watch 1000', 'wake 5000'] },
    { it: 'checks no tasks after a scale-down, and notes its time', state: has(2, { busy: 'applying' }), event: { type: 'applied', target: target(1) }, seen: { handedOut: 1 }, then: { unconfirmed: false, brake: { early: 0, fewerAt: now } }, effects: ['give up spares but h1', 'wake 5000'] },
    { it: 'remembers the former shape', state: has(1, { busy: 'applying', shape: other, renewedHash: 'h1' }), event: { type: 'applied', target: target(1, { hash: 'h2' }) }, seen: { handedOut: 1 }, then: { formerHash: 'h1', renewedHash: undefined }, effects: ['give up spares but h2', 'watch 1000', 'wake 5000'] },
    { it: 'forgets a failure, and with it the pause', state: has(1, { busy: 'applying', failures: 2, failure: { error: gone } }), event: { type: 'applied', target: target(1) }, seen: { handedOut: 1 }, then: { failures: 0, failure: undefined }, effects: ['give up spares but h1', 'wake 5000'] },
    { it: 'sets soon what was wanted meanwhile', state: has(1, { busy: 'applying' }), event: { type: 'applied', target: target(1) }, seen: { handedOut: 2 }, effects: ['give up spares but h1', 'wake 100'] },
  ],
  'when the service could not be set': [
    { it: 'tries again after a pause, and refuses no request', state: has(0, { busy: 'applying' }), event: { type: 'apply failed', error: gone }, seen: waits(0), then: { busy: 'no', reapply: true, failures: 1, failure: { error: gone } }, effects: ['trouble', 'wake 250'] },
    { it: 'doubles the pause', state: has(0, { busy: 'applying', failures: 1 }), event: { type: 'apply failed', error: gone }, seen: waits(0), then: { failures: 2 }, effects: ['trouble', 'wake 500'] },
    { it: 'bounds the pause', state: has(0, { busy: 'applying', failures: 5 }), event: { type: 'apply failed', error: gone }, seen: waits(0), then: { failures: 6 }, effects: ['trouble', 'wake 5000'] },
    { it: 'refuses the requests after an error that will not pass', state: has(0, { busy: 'applying' }), event: { type: 'apply failed', error: refused }, seen: waits(0), effects: ['trouble', 'refuse all image.unknown', 'wake 250'] },
    { it: 'does not count refused requests as use', state: has(2, { busy: 'applying', fullAt: now - 9_000, usedAt: now - 9_000 }), event: { type: 'apply failed', error: refused }, seen: waits(0, 0), then: { fullAt: now - 9_000, usedAt: now - 9_000 }, effects: ['trouble', 'refuse all image.unknown', 'wake 250'] },
  ],
  'when its shape changes': [
    { it: 'does nothing if the shape is the same', state: has(1), event: { type: 'reshaped', shape, onlySecret: true }, effects: [] },
    { it: 'gives up all spare tasks', state: has(1), event: { type: 'reshaped', shape: other, onlySecret: false }, then: { shape: other, renewedHash: undefined }, effects: ['give up spares but none', 'wake 0'] },
    { it: 'keeps the spare tasks if only the secret changes', state: has(1), event: { type: 'reshaped', shape: other, onlySecret: true }, then: { renewedHash: 'h1' }, effects: ['wake 0'] },
    { it: 'takes the shape of an adopted service', state: { ...has(1), shape: undefined }, event: { type: 'reshaped', shape, onlySecret: false }, then: { shape }, effects: [] },
  ],
  'when something else changes': [
    { it: 'sets the service when other nodes lack the image', state: has(1), event: { type: 'excluded', nodes: ['n1'] }, then: { excluded: ['n1'] }, effects: ['wake 0'] },
    { it: 'does nothing for nodes that are excluded already', state: has(1, { excluded: ['n1'] }), event: { type: 'excluded', nodes: ['n1'] }, effects: [] },
    { it: 'compares the numbers under pressure', state: has(1), event: { type: 'pressed', pressed: true }, then: { pressed: true }, effects: ['wake 0'] },
    { it: 'does nothing when the pressure ends', state: has(1, { pressed: true }), event: { type: 'pressed', pressed: false }, then: { pressed: false }, effects: [] },
    { it: 'sets a service again that others have changed', state: has(1), event: { type: 'changed by others' }, then: { reapply: true }, effects: ['wake 0'] },
    { it: 'counts as fruitful again when a task dials in', state: has(1, { fruitless: true }), event: { type: 'dialled' }, then: { fruitless: false, dialledAt: now }, effects: [] },
    { it: 'counts a task that ended early', state: has(1), event: { type: 'ended', end: early }, then: { brake: { early: 1, fewerAt: -Infinity } }, effects: [] },
    { it: 'brakes at the tenth in a row', state: has(1, { brake: { ...braking, early: 9 } }), event: { type: 'ended', end: early }, effects: ['trouble', 'wake 0'] },
    { it: 'reports the brake only once', state: has(1, { brake: braking }), event: { type: 'ended', end: early }, effects: [] },
    { it: 'does not count tasks that end after a scale-down', state: has(1, { brake: { early: 9, fewerAt: now - 14_999 } }), event: { type: 'ended', end: early }, effects: [] },
    { it: 'releases the brake when a task has served', state: has(1, { brake: braking }), event: { type: 'ended', end: { ...early, unused: false, spokenTo: true } }, then: { brake: { early: 0, fewerAt: -Infinity } }, effects: [] },
  ],
  'when it looks at the waiting requests': [
    { it: 'looks again later if no request has waited long', state: has(1), event: { type: 'watch', connected: 1 }, seen: waits(999), effects: ['watch 1000'] },
    { it: 'asks the swarm why no task has dialled in', state: has(1), event: { type: 'watch', connected: 0 }, seen: waits(1_000, 0), then: { looking: true }, effects: ['look from -1000', 'watch 1000'] },
    { it: 'asks no second time while an answer is due', state: has(1, { looking: true }), event: { type: 'watch', connected: 0 }, seen: waits(1_000), effects: ['watch 1000'] },
    { it: 'stops if no request waits and all tasks are confirmed', state: has(1, { report: pending, noRoomSince: now }), event: { type: 'watch', connected: 1 }, then: { report: noReport, noRoomSince: undefined, watching: false }, effects: [] },
    { it: 'looks for unconfirmed tasks also if no request waits', state: has(2, { unconfirmed: true }), event: { type: 'watch', connected: 1 }, then: { unconfirmed: true }, effects: ['look from 0', 'watch 1000'] },
    { it: 'counts as confirmed when all tasks are connected', state: has(2, { unconfirmed: true }), event: { type: 'watch', connected: 2 }, then: { unconfirmed: false }, effects: ['look from 0'] },
    { it: 'stops looking for unconfirmed tasks after a while', state: has(2, { unconfirmed: true, applied: { ...target(2), at: now - 30_000 } }), event: { type: 'watch', connected: 1 }, then: { unconfirmed: false }, effects: ['look from -30000'] },
    { it: 'refuses the requests that have waited too long, and no others', state: has(1, { looking: true }), event: { type: 'watch', connected: 0 }, seen: waits(30_000, 29_999), then: { fruitless: true }, effects: ['refuse until -30000 sandbox.failed', 'watch 1000'] },
    { it: 'refuses with the error of the last call', state: has(1, { looking: true, failure: { error: gone } }), event: { type: 'watch', connected: 0 }, seen: waits(30_000), effects: ['refuse until -30000 engine.unreachable'] },
    { it: 'refuses no request while tasks dial in', state: has(1, { looking: true, dialledAt: now - 29_999 }), event: { type: 'watch', connected: 0 }, seen: waits(40_000), then: { fruitless: false }, effects: ['watch 1000'] },
  ],
  'when the swarm has reported its tasks': [
    { it: 'keeps the report while a request waits', state: has(1, { looking: true }), event: { type: 'reported', report: pending }, seen: waits(1_000), then: { report: pending, looking: false }, effects: [] },
    { it: 'drops the report if no request waits', state: has(1), event: { type: 'reported', report: pending }, then: { report: noReport }, effects: [] },
    { it: 'passes on the nodes that lack the image', state: has(1), event: { type: 'reported', report: { ...pending, lacking: ['n2'] } }, effects: ['lacking n2'] },
    { it: 'asks other pools for room if the swarm has none', state: has(1), event: { type: 'reported', report: full }, seen: waits(1_000, 1_000), then: { noRoomSince: now }, effects: ['pressure'] },
    { it: 'refuses the newest requests if there has been no room for long', state: has(1, { noRoomSince: now - 2_000 }), event: { type: 'reported', report: { ...full, coming: 1 } }, seen: waits(3_000, 3_000, 3_000), then: { noRoomSince: undefined }, effects: ['pressure', 'refuse last 2 node.full'] },
    { it: 'forgets the lack of room when there is room', state: has(1, { noRoomSince: now - 2_000 }), event: { type: 'reported', report: pending }, seen: waits(3_000), then: { noRoomSince: undefined }, effects: [] },
    { it: 'sets the service again if it has no task at all', state: has(1, { applied: { ...target(1), at: now - 5_000 } }), event: { type: 'reported', report: noReport }, seen: waits(6_000), then: { reapply: true }, effects: ['wake 0'] },
    { it: 'waits a while before it sets the service again', state: has(1, { applied: { ...target(1), at: now - 4_999 } }), event: { type: 'reported', report: noReport }, seen: waits(6_000), then: { reapply: false }, effects: [] },
  ],
  'when its service is removed': [
    { it: 'makes no call meanwhile', state: has(0, { busy: 'retiring' }), event: { type: 'woken' }, seen: waits(0), then: { busy: 'retiring' }, effects: [] },
    { it: 'creates the service again for a request during its removal', state: has(0, { busy: 'retiring' }), event: { type: 'retired', removed: true }, seen: waits(0), then: { busy: 'no', applied: { replicas: 0, hash: undefined, excluded: [], at: now } }, effects: ['wake 100'] },
    { it: 'keeps its state if the removal failed', state: has(0, { busy: 'retiring' }), event: { type: 'retired', removed: false }, then: { busy: 'no', applied: { ...target(0), at: now } }, effects: [] },
  ],
  'when it is closed': [
    { it: 'refuses the requests and gives up the tasks', state: has(2), event: { type: 'closed' }, seen: waits(0), then: { closed: true }, effects: ['refuse all node.lost', 'give up spares but none'] },
    ...(['waits', 'numbers', 'changed by others', 'woken'] as const).map((type) => ({ it: `does nothing more after the event: ${type}`, state: has(2, { closed: true }), event: { type }, seen: waits(9_000), effects: [] })),
    { it: 'sets no timer after a call that was under way', state: has(1, { closed: true, busy: 'applying' }), event: { type: 'applied', target: target(2) }, effects: ['give up spares but h1'] },
  ],
};

describe('the state machine of a service’s pool', () => {
  for (const [name, cases] of Object.entries(tables)) {
    describe(name, () => {
      for (const one of cases) {
        it(one.it, () => {
          const before = structuredClone({ ...one.state, failure: undefined });
          const { state, effects } = next(one.state, { ...one.event, seen: { ...calm, ...one.seen } });
          assert.deepEqual(words(effects), one.effects);
          for (const [field, value] of Object.entries(one.then ?? {})) assert.deepEqual(state[field as keyof PoolState], value, field);
          assert.deepEqual({ ...one.state, failure: undefined }, before, 'next must not change the state before');
        });
      }
    });
  }

  it('refuses a request that waited too long with the swarm’s report and a hint', () => {
    const { effects } = next(has(1, { report: pending }), { type: 'watch', connected: 0, seen: { ...calm, ...waits(30_000) } });
    const [refusal] = effects;
    assert.ok(refusal?.do === 'refuse' && refusal.error instanceof KatafleetError);
    assert.match(refusal.error.message, /no task of s has dialled in within 30 s: 1 task: waits to be placed/);
    assert.match(refusal.error.hint ?? '', /10\.0\.0\.7:7421/);
  });
});
