import assert from 'node:assert/strict';
import fc from 'fast-check';
import { KatafleetError } from '../../../src/model/errors.ts';
import type { Life, LifeEffect, LifeEvent, LifeRules } from '../../../src/runs/life/life.ts';
import { accepted, mostAttempts, next } from '../../../src/runs/life/machine.ts';
import { newTally } from '../../../src/runs/life/tally.ts';
import { result } from '../../support/katas.ts';

const rules: LifeRules = { attempts: 3, queueMs: 10_000, acquireMs: 5_000 };
const error = (code: 'engine.failed' | 'engine.timeout' | 'node.full' | 'image.unknown' | 'recipe.invalid' | 'service.stopping') =>
  new KatafleetError(code, `it is ${code}`, code === 'node.full' ? { retryAfterMs: 500 } : {});
const late = () => new KatafleetError('queue.deadline', 'too late');

/** An event without its time and its attempt, which come from the run. */
type Kind = (life: Life, at: number, attempt: number) => LifeEvent;
const fault = (started: boolean, nodeLost: boolean, resumed: boolean): Kind => {
  const of = { kind: 'sandbox' as const, reason: 'gone', started, nodeLost, answers: true, resumed, warm: false, result: result() };
  return (_life, at, attempt) => ({ type: 'failed', attempt, at, fault: of });
};
const kinds: Record<string, Kind> = {
  stored: (_life, at) => ({ type: 'stored', at }),
  refused: () => ({ type: 'refused', error: error('engine.failed') }),
  place: (_life, at) => ({ type: 'place', at, node: 'a', warm: false, resumed: false }),
  resume: (_life, at) => ({ type: 'place', at, node: 'a', resumed: true }),
  impossible: () => ({ type: 'impossible', error: error('image.unknown') }),
  brought: (_life, at, attempt) => ({ type: 'brought', attempt, at }),
  acquired: (_life, at, attempt) => ({ type: 'acquired', attempt, at, ms: 60_000 }),
  executed: (_life, _at, attempt) => ({ type: 'executed', attempt }),
  extended: (_life, at, attempt) => ({ type: 'extended', attempt, at, ms: 60_000 }),
  done: (_life, _at, attempt) => ({ type: 'done', attempt, result: result({}, { attempt }) }),
  lostWithNode: fault(true, true, false),
  lostOnIt: fault(true, false, false),
  lostBefore: fault(false, false, false),
  lostResumed: fault(false, false, true),
  ...Object.fromEntries(
    (['engine.failed', 'engine.timeout', 'node.full', 'image.unknown', 'recipe.invalid', 'service.stopping'] as const).map((code) => [
      code,
      ((_life, at, attempt) => ({
        type: 'failed',
        attempt,
        at,
        fault: {
          kind: 'error',
          error: error(code),
          resumed: false,
          answers: true,
          ...(code === 'image.unknown' ? { image: { had: true, has: false } } : {}),
        },
      })) satisfies Kind,
    ]),
  ),
  recorded: (_life, _at, attempt) => ({ type: 'recorded', attempt, current: true }),
  unrecorded: (_life, _at, attempt) => ({ type: 'recorded', attempt, current: false }),
  unwritable: () => ({ type: 'unwritable', error: new KatafleetError('journal.broken', 'damaged') }),
  written: () => ({ type: 'written', current: true }),
  unwritten: () => ({ type: 'written', current: false }),
  cancel: (_life, at) => ({ type: 'cancel', at }),
  stop: () => ({ type: 'stop' }),
  early: (_life, at) => ({ type: 'deadline', at, late }),
  deadline: (life, at) => ({ type: 'deadline', at: Math.max(at, life.phase === 'ended' ? at : life.deadline), late }),
};

/** A run to which events happen. It keeps what was to be done. */
class Run {
  life: Life = accepted(0, newTally());
  now = 0;
  readonly done: LifeEffect[] = [];

  happens(kind: string, back = 0): void {
    const attempt = (this.life.phase === 'ended' ? 1 : this.life.tally.attempt) - back;
    const event = kinds[kind]?.(this.life, this.now, attempt);
    assert.ok(event, kind);
    if ('at' in event) this.now = Math.max(this.now, event.at);
    const before = structuredClone({ ...this.life, end: undefined });
    const from = this.life;
    const { life, effects } = next(this.life, event, rules);
    assert.deepEqual(structuredClone({ ...from, end: undefined }), before, 'a state is never changed');
    this.life = life;
    this.done.push(...effects);
    this.now += 1;
  }

  count(what: LifeEffect['do']): number {
    return this.done.filter((effect) => effect.do === what).length;
  }
}

const step = fc.record({ kind: fc.constantFrom(...Object.keys(kinds)), back: fc.constantFrom(0, 0, 0, 1) });
/** Events that lead on, so that long lives are tried too. */
const forward = fc.constantFrom(
  'stored',
  'place',
  'brought',
  'acquired',
  'executed',
  'lostWithNode',
  'engine.timeout',
  'node.full',
  'recorded',
  'written',
);
const lives = fc.array(
  fc.oneof(
    step,
    forward.map((kind) => ({ kind, back: 0 })),
  ),
  { maxLength: 120 },
);

describe('the life of a run, whatever happens in which order', () => {
  it('is told at most once, and is written before that unless it was never stored', () => {
    fc.assert(
      fc.property(lives, (steps) => {
        const run = new Run();
        for (const { kind, back } of steps) {
          run.happens(kind, back);
          const { life } = run;
          assert.ok(run.count('tell') <= 1);
          assert.equal(run.count('tell') === 1, life.phase === 'ended' && life.told);
          if (life.phase === 'ended' && life.end.kind !== 'refused') assert.ok(run.count('write') >= 1);
          assert.ok(run.count('write') <= 2, 'a result, and that it can’t be stored');
        }
      }),
      { numRuns: 3_000 },
    );
  });

  it('has a deadline in each state, and time alone ends it: with that, its writes and the next loss it is told', () => {
    fc.assert(
      fc.property(lives, (steps) => {
        const run = new Run();
        for (const { kind, back } of steps) run.happens(kind, back);
        if (run.life.phase !== 'ended') assert.ok(Number.isFinite(run.life.deadline));
        for (let turn = 0; turn < 20 && !(run.life.phase === 'ended' && run.life.told); turn += 1) {
          run.happens('deadline');
          run.happens('recorded');
          run.happens('written');
        }
        assert.equal(run.count('tell'), 1);
      }),
      { numRuns: 3_000 },
    );
  });

  it('makes a bounded number of tries and of attempts, each with a number of its own', () => {
    const losses = fc.constantFrom(
      'lostWithNode',
      'lostOnIt',
      'lostBefore',
      'engine.failed',
      'engine.timeout',
      'node.full',
      'image.unknown',
    );
    fc.assert(
      fc.property(fc.infiniteStream(losses), (stream) => {
        const run = new Run();
        run.happens('stored');
        let tries = 0;
        for (const loss of stream) {
          for (const kind of ['place', 'brought', 'acquired', loss, 'recorded']) run.happens(kind);
          if (run.life.phase === 'ended') break;
          assert.equal(run.life.phase, 'queued');
          assert.ok(run.life.tally.tries >= tries && run.life.tally.tries < rules.attempts);
          ({ tries } = run.life.tally);
        }
        const numbers = run.done.flatMap((effect) => (effect.do === 'attempt' ? [effect.attempt] : []));
        assert.deepEqual(
          numbers,
          [...new Set(numbers)].sort((a, b) => a - b),
        );
        assert.ok(numbers.length <= mostAttempts);
      }),
      { numRuns: 200 },
    );
    const full = new Run();
    full.happens('stored');
    while (full.life.phase !== 'ended') for (const kind of ['place', 'brought', 'node.full', 'recorded']) full.happens(kind);
    assert.equal(full.count('attempt'), mostAttempts, 'attempts that cost no try are bounded too');
  });

  it('is in the queue exactly when it was put in and not taken out', () => {
    fc.assert(
      fc.property(lives, (steps) => {
        const run = new Run();
        for (const { kind, back } of steps) {
          const queued = run.life.phase === 'queued' && !run.life.storing;
          run.happens(kind, back);
          const inside = run.count('enter') - run.count('leave') - run.count('attempt');
          assert.equal(inside, Number(run.life.phase === 'queued' && !run.life.storing), `${kind} after ${String(queued)}`);
        }
      }),
      { numRuns: 3_000 },
    );
  });

  it('hears a cancel in each state', () => {
    const ways: Record<string, string[]> = {
      accepted: ['cancel', 'stored'],
      queued: ['stored', 'cancel'],
      placed: ['stored', 'place', 'cancel'],
      acquiring: ['stored', 'place', 'brought', 'cancel'],
      executing: ['stored', 'place', 'brought', 'acquired', 'cancel', 'done'],
      collecting: ['stored', 'place', 'brought', 'acquired', 'executed', 'cancel', 'done'],
    };
    for (const [state, kinds] of Object.entries(ways)) {
      const run = new Run();
      for (const kind of [...kinds, 'written']) run.happens(kind);
      const { life } = run;
      assert.ok(life.phase === 'ended' && life.told, state);
      const served = state === 'executing' || state === 'collecting';
      assert.equal(life.end.kind, served ? 'finished' : 'cancelled', state);
      assert.equal(run.count('abort'), state === 'accepted' || state === 'queued' ? 0 : 1, state);
    }
  });
});

describe('a state’s deadline', () => {
  const after = (...kinds: string[]) => {
    const run = new Run();
    for (const kind of kinds) run.happens(kind);
    return run;
  };

  it('ends a run that the journal does not store, and takes it back if it comes later', () => {
    const run = after('deadline');
    assert.ok(run.life.phase === 'ended' && run.life.end.kind === 'refused' && run.life.end.error.code === 'journal.unavailable');
    run.happens('stored');
    assert.deepEqual(
      run.done.map((effect) => effect.do),
      ['give back', 'tell', 'withdraw'],
    );
  });

  it('ends a run whose image does not come while it may wait', () => {
    const run = after('stored', 'place', 'deadline');
    assert.ok(run.life.phase === 'ended' && run.life.end.kind === 'failed' && run.life.end.error.code === 'queue.deadline');
    assert.equal(run.count('abort'), 1);
  });

  it('tries a run elsewhere whose node makes no sandbox, costs it no try, and has the node looked at', () => {
    const run = after('stored', 'place', 'brought', 'deadline');
    assert.ok(run.life.phase === 'queued' && run.life.storing);
    assert.deepEqual([run.life.tally.tries, [...run.life.tally.avoid]], [0, ['a']]);
    assert.deepEqual(
      run.done.map((effect) => effect.do),
      ['enter', 'attempt', 'abort', 'doubt', 'record loss'],
    );
  });

  it('breaks the stream of a sandbox that does not end, and then gives the attempt up', () => {
    const run = after('stored', 'place', 'brought', 'acquired', 'deadline');
    const phase = (): string => run.life.phase;
    assert.equal(run.count('break'), 1);
    assert.equal(phase(), 'executing');
    run.happens('deadline');
    assert.equal(phase(), 'queued');
    run.happens('done');
    assert.equal(phase(), 'queued', 'its late result changes nothing');
  });
});
