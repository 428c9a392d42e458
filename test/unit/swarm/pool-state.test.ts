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
/** One whose service has so many replicas, said just now. */
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

/** Effects in a word or two, errors by their code. */
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
  /** Fields of the state after it. */
  then?: Partial<PoolState>;
  effects: string[];
}

const pending = { ...noReport, words: ['1 task: waits to be placed'], coming: 1 };
const full = { ...noReport, words: ['2 tasks: no suitable node'], insufficient: true };
const waits = (...ages: number[]): Partial<Seen> => ({ waiting: ages.map((age) => now - age) });

// A row for each case.
// prettier-ignore
const tables: Record<string, Case[]> = {
  'when somebody waits': [
    { it: 'looks at the numbers at once where there is no replica', state: has(0), event: { type: 'waits' }, seen: waits(0), then: { wakeAt: now, watching: true }, effects: ['wake 0', 'watch 1000'] },
    { it: 'gathers what comes together where there are some', state: has(1), event: { type: 'waits' }, seen: waits(0), then: { wakeAt: now + 100 }, effects: ['wake 100', 'watch 1000'] },
    { it: 'sets no second timer', state: has(1, { wakeAt: now + 50, watching: true }), event: { type: 'waits' }, seen: waits(0), then: { wakeAt: now + 50 }, effects: [] },
    { it: 'brings a later look forward', state: has(1, { wakeAt: now + 5_000, watching: true }), event: { type: 'waits' }, seen: waits(0), effects: ['wake 100'] },
    { it: 'keeps the pause after a failure', state: has(0, { failures: 2, watching: true }), event: { type: 'waits' }, seen: waits(0), effects: ['wake 500'] },
  ],
  'when it looks at the numbers': [
    { it: 'tells the swarm what is wanted', state: has(0), event: { type: 'woken' }, seen: { ...waits(0, 0), handedOut: 1 }, then: { busy: 'applying' }, effects: ['apply 3 h1'] },
    { it: 'asks for no more than can start at once', state: has(0), event: { type: 'woken' }, seen: { ...waits(0, 0, 0), starting: 2 }, effects: ['apply 2 h1'] },
    { it: 'says nothing while something is under way', state: has(0, { busy: 'applying' }), event: { type: 'woken' }, seen: waits(0), effects: [] },
    { it: 'says nothing where nothing has changed, and looks again', state: has(2), event: { type: 'woken' }, seen: { handedOut: 2 }, effects: ['wake 5000'] },
    { it: 'looks no more where there is nothing and nobody', state: has(0), event: { type: 'woken' }, effects: [] },
    { it: 'keeps what is not wanted for a while', state: has(3), event: { type: 'woken' }, seen: { handedOut: 1 }, effects: ['wake 5000'] },
    { it: 'tells of less after a while', state: has(3, { fullAt: now - minute }), event: { type: 'woken' }, seen: { handedOut: 1 }, effects: ['apply 1 h1'] },
    { it: 'tells of less at once under pressure', state: has(3, { pressed: true }), event: { type: 'woken' }, seen: { handedOut: 1 }, effects: ['apply 1 h1'] },
    { it: 'tells of less at once where tasks end as soon as they come', state: has(3, { brake: braking }), event: { type: 'woken' }, seen: { handedOut: 1 }, effects: ['apply 1 h1'] },
    { it: 'gives up what never came', state: has(3, { fruitless: true, usedAt: now - 30_000 }), event: { type: 'woken' }, effects: ['apply 0 h1'] },
    { it: 'gives up what nobody has used for long', state: has(3, { usedAt: now - 10 * minute }), event: { type: 'woken' }, effects: ['apply 0 h1'] },
    { it: 'says again in time that it is still wanted', state: has(2, { applied: { ...target(2), at: now - wantLastsMs / 2 - 1 } }), event: { type: 'woken' }, seen: { handedOut: 2 }, effects: ['apply 2 h1'] },
    { it: 'tells of other nodes that lack the image', state: has(2, { excluded: ['n2'] }), event: { type: 'woken' }, seen: { handedOut: 2 }, effects: ['apply 2 h1 n2'] },
    { it: 'leaves a service alone that nobody has asked for', state: { ...has(2), shape: undefined }, event: { type: 'woken' }, effects: ['wake 5000'] },
  ],
  'when the swarm was told': [
    { it: 'looks whether more tasks have come', state: has(1, { busy: 'applying' }), event: { type: 'applied', target: target(2) }, seen: { handedOut: 2 }, then: { busy: 'no', unconfirmed: true, applied: { ...target(2), at: now } }, effects: ['give up spares but h1', 'watch 1000', 'wake 5000'] },
    { it: 'need not look where it was told of less, and minds that some end', state: has(2, { busy: 'applying' }), event: { type: 'applied', target: target(1) }, seen: { handedOut: 1 }, then: { unconfirmed: false, brake: { early: 0, fewerAt: now } }, effects: ['give up spares but h1', 'wake 5000'] },
    { it: 'remembers the former shape', state: has(1, { busy: 'applying', shape: other, renewedHash: 'h1' }), event: { type: 'applied', target: target(1, { hash: 'h2' }) }, seen: { handedOut: 1 }, then: { formerHash: 'h1', renewedHash: undefined }, effects: ['give up spares but h2', 'watch 1000', 'wake 5000'] },
    { it: 'forgets a failure and its pause', state: has(1, { busy: 'applying', failures: 2, failure: { error: gone } }), event: { type: 'applied', target: target(1) }, seen: { handedOut: 1 }, then: { failures: 0, failure: undefined }, effects: ['give up spares but h1', 'wake 5000'] },
    { it: 'tells what was wanted meanwhile', state: has(1, { busy: 'applying' }), event: { type: 'applied', target: target(1) }, seen: { handedOut: 2 }, effects: ['give up spares but h1', 'wake 100'] },
  ],
  'when the swarm could not be told': [
    { it: 'tries again after a pause, and nobody is refused', state: has(0, { busy: 'applying' }), event: { type: 'apply failed', error: gone }, seen: waits(0), then: { busy: 'no', reapply: true, failures: 1, failure: { error: gone } }, effects: ['trouble', 'wake 250'] },
    { it: 'doubles the pause', state: has(0, { busy: 'applying', failures: 1 }), event: { type: 'apply failed', error: gone }, seen: waits(0), then: { failures: 2 }, effects: ['trouble', 'wake 500'] },
    { it: 'bounds the pause', state: has(0, { busy: 'applying', failures: 5 }), event: { type: 'apply failed', error: gone }, seen: waits(0), then: { failures: 6 }, effects: ['trouble', 'wake 5000'] },
    { it: 'refuses who waits for what the swarm will never take', state: has(0, { busy: 'applying' }), event: { type: 'apply failed', error: refused }, seen: waits(0), effects: ['trouble', 'refuse all image.unknown', 'wake 250'] },
    { it: 'does not count refused requests as use', state: has(2, { busy: 'applying', fullAt: now - 9_000, usedAt: now - 9_000 }), event: { type: 'apply failed', error: refused }, seen: waits(0, 0), then: { fullAt: now - 9_000, usedAt: now - 9_000 }, effects: ['trouble', 'refuse all image.unknown', 'wake 250'] },
  ],
  'when its shape changes': [
    { it: 'does nothing where it is the same', state: has(1), event: { type: 'reshaped', shape, onlySecret: true }, effects: [] },
    { it: 'gives up all spare tasks', state: has(1), event: { type: 'reshaped', shape: other, onlySecret: false }, then: { shape: other, renewedHash: undefined }, effects: ['give up spares but none', 'wake 0'] },
    { it: 'lets tasks serve whose secret alone is to be another', state: has(1), event: { type: 'reshaped', shape: other, onlySecret: true }, then: { renewedHash: 'h1' }, effects: ['wake 0'] },
    { it: 'is known for the first time', state: { ...has(1), shape: undefined }, event: { type: 'reshaped', shape, onlySecret: false }, then: { shape }, effects: [] },
  ],
  'when something else changes': [
    { it: 'tells of nodes that lack the image', state: has(1), event: { type: 'excluded', nodes: ['n1'] }, then: { excluded: ['n1'] }, effects: ['wake 0'] },
    { it: 'says nothing of nodes that it knows of', state: has(1, { excluded: ['n1'] }), event: { type: 'excluded', nodes: ['n1'] }, effects: [] },
    { it: 'gives way under pressure', state: has(1), event: { type: 'pressed', pressed: true }, then: { pressed: true }, effects: ['wake 0'] },
    { it: 'does nothing when pressure goes', state: has(1, { pressed: true }), event: { type: 'pressed', pressed: false }, then: { pressed: false }, effects: [] },
    { it: 'tells the swarm again what others have changed', state: has(1), event: { type: 'changed by others' }, then: { reapply: true }, effects: ['wake 0'] },
    { it: 'forgets that nothing came when a task dials in', state: has(1, { fruitless: true }), event: { type: 'dialled' }, then: { fruitless: false, dialledAt: now }, effects: [] },
    { it: 'counts a task that ended early', state: has(1), event: { type: 'ended', end: early }, then: { brake: { early: 1, fewerAt: -Infinity } }, effects: [] },
    { it: 'brakes at the tenth in a row', state: has(1, { brake: { ...braking, early: 9 } }), event: { type: 'ended', end: early }, effects: ['trouble', 'wake 0'] },
    { it: 'says once that it brakes', state: has(1, { brake: braking }), event: { type: 'ended', end: early }, effects: [] },
    { it: 'counts none that the swarm ends for want of less', state: has(1, { brake: { early: 9, fewerAt: now - 14_999 } }), event: { type: 'ended', end: early }, effects: [] },
    { it: 'releases the brake when one has served', state: has(1, { brake: braking }), event: { type: 'ended', end: { ...early, unused: false, spokenTo: true } }, then: { brake: { early: 0, fewerAt: -Infinity } }, effects: [] },
  ],
  'when it looks at who waits': [
    { it: 'looks again later where nobody has waited long', state: has(1), event: { type: 'watch', connected: 1 }, seen: waits(999), effects: ['watch 1000'] },
    { it: 'asks the swarm why none has come', state: has(1), event: { type: 'watch', connected: 0 }, seen: waits(1_000, 0), then: { looking: true }, effects: ['look from -1000', 'watch 1000'] },
    { it: 'asks once at a time', state: has(1, { looking: true }), event: { type: 'watch', connected: 0 }, seen: waits(1_000), effects: ['watch 1000'] },
    { it: 'stops where nobody waits and all is seen', state: has(1, { report: pending, noRoomSince: now }), event: { type: 'watch', connected: 1 }, then: { report: noReport, noRoomSince: undefined, watching: false }, effects: [] },
    { it: 'looks for what it asked for though nobody waits', state: has(2, { unconfirmed: true }), event: { type: 'watch', connected: 1 }, then: { unconfirmed: true }, effects: ['look from 0', 'watch 1000'] },
    { it: 'has seen it when all have come', state: has(2, { unconfirmed: true }), event: { type: 'watch', connected: 2 }, then: { unconfirmed: false }, effects: ['look from 0'] },
    { it: 'does not look for it for ever', state: has(2, { unconfirmed: true, applied: { ...target(2), at: now - 30_000 } }), event: { type: 'watch', connected: 1 }, then: { unconfirmed: false }, effects: ['look from -30000'] },
    { it: 'refuses who has waited for too long, and no one else', state: has(1, { looking: true }), event: { type: 'watch', connected: 0 }, seen: waits(30_000, 29_999), then: { fruitless: true }, effects: ['refuse until -30000 sandbox.failed', 'watch 1000'] },
    { it: 'refuses with what the swarm could not be told for', state: has(1, { looking: true, failure: { error: gone } }), event: { type: 'watch', connected: 0 }, seen: waits(30_000), effects: ['refuse until -30000 engine.unreachable'] },
    { it: 'has patience as long as tasks come', state: has(1, { looking: true, dialledAt: now - 29_999 }), event: { type: 'watch', connected: 0 }, seen: waits(40_000), then: { fruitless: false }, effects: ['watch 1000'] },
  ],
  'when the swarm has said where tasks are': [
    { it: 'keeps its words for who waits', state: has(1, { looking: true }), event: { type: 'reported', report: pending }, seen: waits(1_000), then: { report: pending, looking: false }, effects: [] },
    { it: 'keeps none where nobody waits', state: has(1), event: { type: 'reported', report: pending }, then: { report: noReport }, effects: [] },
    { it: 'tells of nodes that lack the image', state: has(1), event: { type: 'reported', report: { ...pending, lacking: ['n2'] } }, effects: ['lacking n2'] },
    { it: 'asks other pools for room', state: has(1), event: { type: 'reported', report: full }, seen: waits(1_000, 1_000), then: { noRoomSince: now }, effects: ['pressure'] },
    { it: 'refuses those for whom there is no room for long', state: has(1, { noRoomSince: now - 2_000 }), event: { type: 'reported', report: { ...full, coming: 1 } }, seen: waits(3_000, 3_000, 3_000), then: { noRoomSince: undefined }, effects: ['pressure', 'refuse last 2 node.full'] },
    { it: 'forgets that there was no room when there is', state: has(1, { noRoomSince: now - 2_000 }), event: { type: 'reported', report: pending }, seen: waits(3_000), then: { noRoomSince: undefined }, effects: [] },
    { it: 'tells it again where it has no task at all', state: has(1, { applied: { ...target(1), at: now - 5_000 } }), event: { type: 'reported', report: noReport }, seen: waits(6_000), then: { reapply: true }, effects: ['wake 0'] },
    { it: 'waits a while before that', state: has(1, { applied: { ...target(1), at: now - 4_999 } }), event: { type: 'reported', report: noReport }, seen: waits(6_000), then: { reapply: false }, effects: [] },
  ],
  'when its service is taken away': [
    { it: 'tells the swarm nothing meanwhile', state: has(0, { busy: 'retiring' }), event: { type: 'woken' }, seen: waits(0), then: { busy: 'retiring' }, effects: [] },
    { it: 'makes it anew for who came meanwhile', state: has(0, { busy: 'retiring' }), event: { type: 'retired', removed: true }, seen: waits(0), then: { busy: 'no', applied: { replicas: 0, hash: undefined, excluded: [], at: now } }, effects: ['wake 100'] },
    { it: 'forgets nothing where it could not be', state: has(0, { busy: 'retiring' }), event: { type: 'retired', removed: false }, then: { busy: 'no', applied: { ...target(0), at: now } }, effects: [] },
  ],
  'when it is closed': [
    { it: 'refuses who waits and lets the tasks go', state: has(2), event: { type: 'closed' }, seen: waits(0), then: { closed: true }, effects: ['refuse all node.lost', 'give up spares but none'] },
    ...(['waits', 'numbers', 'changed by others', 'woken'] as const).map((type) => ({ it: `does nothing after it: ${type}`, state: has(2, { closed: true }), event: { type }, seen: waits(9_000), effects: [] })),
    { it: 'does nothing after it: told', state: has(1, { closed: true, busy: 'applying' }), event: { type: 'applied', target: target(2) }, effects: ['give up spares but h1'] },
  ],
};

describe('what a service’s pool decides', () => {
  for (const [name, cases] of Object.entries(tables)) {
    describe(name, () => {
      for (const one of cases) {
        it(one.it, () => {
          const before = structuredClone({ ...one.state, failure: undefined });
          const { state, effects } = next(one.state, { ...one.event, seen: { ...calm, ...one.seen } });
          assert.deepEqual(words(effects), one.effects);
          for (const [field, value] of Object.entries(one.then ?? {})) assert.deepEqual(state[field as keyof PoolState], value, field);
          assert.deepEqual({ ...one.state, failure: undefined }, before, 'the state before is left as it was');
        });
      }
    });
  }

  it('tells who has waited for too long what the swarm says and what to look at', () => {
    const { effects } = next(has(1, { report: pending }), { type: 'watch', connected: 0, seen: { ...calm, ...waits(30_000) } });
    const [refusal] = effects;
    assert.ok(refusal?.do === 'refuse' && refusal.error instanceof KatafleetError);
    assert.match(refusal.error.message, /no task of s has dialled in within 30 s: 1 task: waits to be placed/);
    assert.match(refusal.error.hint ?? '', /10\.0\.0\.7:7421/);
  });
});
