import assert from 'node:assert/strict';
import fc from 'fast-check';
import { type Outcome, outcomeFacts, outcomeKinds, sayOutcome, succeeded } from '../../src/model/outcome.ts';
import { errorKinds } from '../../src/model/errors.ts';
import { anyOutcome } from '../support/any-result.ts';

describe('the table of outcomes', () => {
  it('gives no kind the exit code of an error', () => {
    // A run that was cancelled by somebody else is an error and an outcome: both say 130.
    const errors = new Map(Object.entries(errorKinds).flatMap(([code, { exit }]) => (code === 'run.cancelled' ? [] : [[exit, code]])));
    for (const kind of outcomeKinds) {
      const { exit } = outcomeFacts({ kind });
      if (typeof exit !== 'number') continue;
      const error = errors.get(exit);
      assert.equal(error, undefined, `${kind} and the error ${error} exit with ${exit}: take a free code above 123, see docs/cli.md`);
      assert.ok(exit > 123 && exit < 256, `${kind} exits with ${exit}: take a free code from 124 to 255`);
    }
  });

  it('gives no two kinds the same fixed exit code', () => {
    const fixed = outcomeKinds.map((kind) => outcomeFacts({ kind }).exit).filter((exit) => typeof exit === 'number');
    assert.equal(new Set(fixed).size, fixed.length, fixed.join(', '));
  });

  it('calls a success only what exited with 0', () => {
    assert.deepEqual(
      [0, 1].map((code) => succeeded({ kind: 'exited', code })),
      [true, false],
    );
    for (const kind of outcomeKinds.filter((one) => one !== 'exited')) {
      fc.assert(fc.property(anyOutcome[kind], (outcome) => !succeeded(outcome)));
    }
  });

  it('has words for every outcome, on one line apart from the reason', () => {
    const each: fc.Arbitrary<Outcome> = fc.oneof(...Object.values(anyOutcome));
    fc.assert(
      fc.property(each, (outcome) => {
        const words = sayOutcome(outcome);
        assert.match(outcome.kind === 'lost' ? words.slice(0, 6) : words, /^\S.{3,}$/);
      }),
    );
  });

  it('leaves the light to the rules only where the command exited by itself', () => {
    const lights = outcomeKinds.map((kind) => [kind, outcomeFacts({ kind }).light]);
    assert.deepEqual(
      lights.filter(([, light]) => light !== 'amber'),
      [['exited', 'rules']],
    );
  });
});
