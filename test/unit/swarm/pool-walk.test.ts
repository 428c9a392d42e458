import assert from 'node:assert/strict';
import { hour } from '../../../src/base/units.ts';
import { next } from '../../../src/drivers/swarm/demand/next.ts';
import { firstState, type Happening, noReport, type PoolEffect, type PoolState } from '../../../src/drivers/swarm/demand/pool-state.ts';
import { KatafleetError } from '../../../src/model/errors.ts';
import { seeded } from '../../support/random.ts';

const rules = { settleMs: 60_000, lingerMs: 600_000, patienceMs: 30_000 };
const shapeOf = (hash: string) => ({ hash, address: '10.0.0.7:7421' });

/** A pool without a swarm: carries out the effects on numbers, as ServicePool does on tasks. */
class Walk {
  state: PoolState;
  now = 0;
  waiting: number[] = [];
  handedOut = 0;
  wakeAt: number | undefined;
  watchAt: number | undefined;
  looking = false;
  applying: Extract<PoolEffect, { do: 'apply' }>['target'] | undefined;

  constructor(adopted: boolean) {
    const there = adopted ? { replicas: 3, hash: 'h0' } : undefined;
    this.state = firstState({ name: 's', rules, shape: shapeOf('h0') }, 0, there);
    if (adopted) this.handle({ type: 'adopted' });
  }

  handle(happening: Happening): void {
    const seen = { now: this.now, waiting: [...this.waiting], handedOut: this.handedOut, starting: 8 };
    const { state, effects } = next(this.state, { ...happening, seen });
    this.state = state;
    for (const effect of effects) this.#do(effect);
  }

  #do(effect: PoolEffect): void {
    switch (effect.do) {
      case 'wake':
        this.wakeAt = this.now + effect.ms;
        return;
      case 'watch':
        assert.equal(this.watchAt, undefined, 'sets one timer for the waiting requests');
        this.watchAt = this.now + effect.ms;
        return;
      case 'apply':
        assert.equal(this.applying, undefined, 'makes one call at a time');
        this.applying = effect.target;
        return;
      case 'look':
        assert.equal(this.looking, false, 'asks for the tasks once at a time');
        this.looking = true;
        return;
      case 'refuse': {
        const { whom } = effect;
        if (whom === 'all') this.leave(() => true);
        else if ('last' in whom) this.leave((_at, index) => index >= this.waiting.length - whom.last);
        else this.leave((at) => at <= whom.until);
        return;
      }
      // A walk has no spare tasks, no images and no other pools.
      case 'give up spares':
      case 'lacking':
      case 'pressure':
      case 'trouble':
        return;
    }
  }

  /** Requests leave the queue, one by one. */
  leave(which: (at: number, index: number) => boolean): void {
    for (const gone of this.waiting.filter(which)) {
      this.waiting.splice(this.waiting.indexOf(gone), 1);
      this.handle({ type: 'numbers' });
    }
  }

  /** Lets time pass until a moment, with the timers that are due by then. */
  pass(until: number): void {
    for (;;) {
      const at = Math.min(this.wakeAt ?? Infinity, this.watchAt ?? Infinity);
      if (at > until) break;
      this.now = at;
      if (at === this.wakeAt) {
        this.wakeAt = undefined;
        this.handle({ type: 'woken' });
      } else {
        this.watchAt = undefined;
        this.handle({ type: 'watch', connected: this.handedOut });
      }
      this.check();
    }
    this.now = until;
  }

  answer(error?: Error): void {
    const target = this.applying;
    if (!target) return;
    this.applying = undefined;
    this.handle(error ? { type: 'apply failed', error } : { type: 'applied', target });
  }

  report(full: boolean): void {
    if (!this.looking) return;
    this.looking = false;
    this.handle({ type: 'reported', report: full ? { ...noReport, words: ['no suitable node'], insufficient: true } : noReport });
  }

  check(): void {
    assert.equal(this.state.wakeAt, this.wakeAt, 'knows when its timer is due');
    assert.equal(this.state.watching, this.watchAt !== undefined, 'knows whether it watches');
    assert.equal(this.state.looking, this.looking, 'knows whether it asks for tasks');
    assert.equal(this.state.busy, this.applying ? 'applying' : 'no', 'knows whether a call is under way');
    if (this.waiting.length === 0) return;
    assert.ok(this.wakeAt !== undefined || this.applying, 'compares the numbers again while a request waits');
    assert.ok(this.watchAt !== undefined, 'watches while a request waits');
  }
}

describe('a random walk of a pool’s state machine', () => {
  it('never loses a timer or a call while requests wait, and comes to rest without them', () => {
    for (let seed = 1; seed <= 200; seed += 1) {
      const random = seeded(seed);
      const walk = new Walk(random() < 0.3);
      const steps: (() => void)[] = [
        () => {
          walk.waiting.push(walk.now);
          walk.handle({ type: 'waits' });
        },
        () => {
          walk.handle({ type: 'dialled' });
          if (walk.waiting.length === 0) return;
          walk.handedOut += 1;
          walk.leave((_at, index) => index === 0);
        },
        () => {
          if (walk.handedOut === 0) return;
          walk.handedOut -= 1;
          walk.handle({ type: 'numbers' });
        },
        () => walk.answer(),
        () =>
          walk.answer(random() < 0.7 ? new KatafleetError('engine.unreachable', 'gone') : new KatafleetError('image.unknown', 'no image')),
        () => walk.report(random() < 0.5),
        () => walk.pass(walk.now + random() ** 3 * 60_000),
        () => walk.handle({ type: 'reshaped', shape: shapeOf(`h${Math.floor(random() * 3)}`), onlySecret: random() < 0.5 }),
        () => walk.handle({ type: 'excluded', nodes: random() < 0.5 ? [] : ['n1'] }),
        () => walk.handle({ type: 'pressed', pressed: random() < 0.5 }),
        () => walk.handle({ type: 'changed by others' }),
        () => walk.handle({ type: 'ended', end: { livedMs: 10, unused: true, spokenTo: false, ended: true } }),
        () => walk.leave((_at, index) => index === 0), // aborted by its signal
      ];
      for (let step = 0; step < 150; step += 1) {
        steps[Math.floor(random() * steps.length)]?.();
        walk.check();
      }
      walk.leave(() => true);
      walk.handedOut = 0;
      walk.handle({ type: 'numbers' });
      for (let minute = 0; minute < 60; minute += 1) {
        walk.answer();
        walk.report(false);
        walk.pass(walk.now + hour / 60);
        walk.check();
      }
      const { wakeAt, watchAt, state } = walk;
      assert.deepEqual(
        [state.applied.replicas, wakeAt, watchAt],
        [0, undefined, undefined],
        `seed ${seed}: at rest without replicas and timers`,
      );
    }
  });
});
