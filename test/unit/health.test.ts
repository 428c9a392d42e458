import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { HealthState } from '../../src/model/node.ts';
import { Health } from '../../src/fleet/node/health.ts';

const rules = { failures: 3, successes: 2, flapMs: 60_000 };

/** The states after each look; looks are 1 s apart: `+` good, `-` bad, `!` refused, a number so many good ones. */
function states(health: Health, looks: string): HealthState[] {
  return Array.from(looks, (look, index) => (look === '+' ? health.good(index * 1_000) : look === '-' ? health.bad() : health.refuse()));
}

describe('health of a node', () => {
  it('the first answer makes it ready, the first silence down', () => {
    assert.deepEqual(states(new Health(rules), '+'), ['ready']);
    assert.deepEqual(states(new Health(rules), '-'), ['down']);
    assert.deepEqual(states(new Health(rules), '!'), ['unusable']);
  });

  it('a failure makes it suspect, some in a row down, an answer in between forgives', () => {
    assert.deepEqual(states(new Health(rules), '+--+--+'), ['ready', 'suspect', 'suspect', 'ready', 'suspect', 'suspect', 'ready']);
    assert.deepEqual(states(new Health(rules), '+---+-++'), ['ready', 'suspect', 'suspect', 'down', 'down', 'down', 'down', 'ready']);
  });

  it('each fall soon after the last makes coming back take longer, up to eight times', () => {
    const health = new Health(rules);
    states(health, '+');
    const needed = [];
    for (let fall = 0; fall < 6; fall += 1) {
      states(health, '---');
      let looks = 1;
      while (health.good(1_000) !== 'ready') looks += 1;
      needed.push(looks);
    }
    assert.deepEqual(needed, [2, 4, 8, 16, 16, 16]);
  });

  it('a node that is suspect again and again needs more good looks in a row, up to eight, until it was steady for long', () => {
    const health = new Health(rules);
    const needed = [];
    states(health, '+');
    for (let doubt = 0; doubt < 7; doubt += 1) {
      health.bad();
      let looks = 1;
      while (health.good(1_000) !== 'ready') looks += 1;
      needed.push(looks);
    }
    assert.deepEqual(needed, [1, 1, 2, 4, 8, 8, 8]);
    health.good(1_000 + rules.flapMs);
    assert.deepEqual(states(health, '-+'), ['suspect', 'ready']);
  });

  it('a node that fails every second look is not used', () => {
    assert.equal(states(new Health(rules), '+-+-+-+-+-+').filter((state) => state === 'ready').length, 3);
  });

  it('an engine that starts nothing stays suspect, whatever it answers, until it starts again', () => {
    const health = new Health(rules);
    states(health, '+');
    assert.equal(health.stick(), 'suspect');
    assert.deepEqual(states(health, '+++'), ['suspect', 'suspect', 'suspect']);
    health.unstick();
    assert.equal(health.good(0), 'ready');
    health.stick();
    assert.deepEqual(states(health, '---++'), ['suspect', 'suspect', 'down', 'down', 'ready']);
  });

  it('a node that is kept does not go down, and goes down at the next failure when it is no longer kept', () => {
    const health = new Health(rules);
    states(health, '+');
    for (let look = 0; look < 9; look += 1) assert.equal(health.bad(true), 'suspect');
    assert.equal(health.bad(), 'down');
  });

  it('a long time up makes it trusted again', () => {
    const health = new Health(rules);
    states(health, '+---++---++++');
    assert.equal(health.state, 'ready');
    health.good(12_000 + rules.flapMs);
    states(health, '---+');
    assert.deepEqual([health.state, health.missing], ['down', 1]);
  });

  it('one that may not serve is ready only after a good look at what it is, not because it was silent once', () => {
    assert.deepEqual(states(new Health(rules), '!-'), ['unusable', 'down']);
    assert.deepEqual(states(new Health(rules), '!+'), ['unusable', 'ready']);
    assert.deepEqual(states(new Health(rules), '+-!'), ['ready', 'suspect', 'unusable']);
  });

  it('goes from ready to down only after enough failures in a row, and back only after enough successes, whatever happens', () => {
    const look = fc.constantFrom('+', '+', '-');
    fc.assert(
      fc.property(
        fc.array(look, { maxLength: 200 }),
        fc.integer({ min: 1, max: 5 }),
        fc.integer({ min: 1, max: 5 }),
        (looks, failures, successes) => {
          const health = new Health({ failures, successes, flapMs: 10_000 });
          let [before, good, bad, changes, doubts]: [HealthState, number, number, number, number] = [health.state, 0, 0, 0, 0];
          for (const [index, one] of looks.entries()) {
            [good, bad] = one === '+' ? [good + 1, 0] : [0, bad + 1];
            const now = one === '+' ? health.good(index * 1_000) : health.bad();
            if (now === 'down' && before !== 'down' && before !== 'probing') assert.ok(bad >= failures, 'down too early');
            if (now === 'ready' && before === 'down') assert.ok(good >= successes && good <= 8 * successes, `back after ${good}`);
            if (before === 'suspect' && now === 'suspect') assert.ok(bad < failures);
            if (before === 'ready' && now === 'suspect') doubts += 1;
            // One answer ends a suspicion; a node that is suspect again and again must answer up to eight times in a row.
            if (one === '+' && now === 'suspect') assert.ok(doubts > 2 && good < 8, `suspect after ${good} answers in a row`);
            if (before === 'down' && now === 'ready') changes += 1;
            before = now;
          }
          assert.ok(changes <= looks.length / (failures + successes) + 1, 'it flaps no faster than its rules allow');
        },
      ),
    );
  });
});
