import assert from 'node:assert/strict';
import { LightRules } from '../../src/model/lights.ts';
import type { Outcome } from '../../src/model/outcome.ts';
import { lightOf } from '../../src/runs/attempt/lights.ts';

const rules = LightRules.parse({
  rules: [
    { light: 'green', exit: [0], stdout: '^All tests passed$' },
    { light: 'red', output: 'Assertion .* failed' },
  ],
});
const light = (outcome: Outcome, stdout = '', stderr = '') =>
  lightOf(rules, outcome, { stdout: Buffer.from(stdout), stderr: Buffer.from(stderr) });
const exit = (code: number): Outcome => ({ kind: 'exited', code });

describe('traffic lights', () => {
  it('the first rule that holds in all its parts gives the light', () => {
    assert.equal(light(exit(0), 'x\nAll tests passed\n'), 'green');
    assert.equal(light(exit(1), 'All tests passed\n'), 'amber');
    assert.equal(light(exit(2), '', 'x: Assertion `a == b` failed.'), 'red');
    assert.equal(light(exit(2), 'Assertion 1 failed'), 'red');
    assert.equal(light(exit(2), 'syntax error'), 'amber');
  });

  it('a run that did not exit by itself is amber, whatever it printed', () => {
    for (const outcome of [{ kind: 'timed_out', clock: 'wall' }, { kind: 'out_of_memory' }, { kind: 'signalled', signal: 9 }] as const) {
      assert.equal(light(outcome, 'All tests passed\n'), 'amber');
    }
  });

  it('a pattern that would take for ever elsewhere takes linear time', () => {
    const evil = LightRules.parse({ rules: [{ light: 'red', stdout: '(a+)+$' }] });
    assert.equal(lightOf(evil, exit(0), { stdout: Buffer.from('a'.repeat(2_000) + '!'), stderr: Buffer.alloc(0) }), 'amber');
  });

  it('rules without a condition, and look-around, are refused', () => {
    assert.equal(LightRules.safeParse({ rules: [{ light: 'red' }] }).success, false);
    const bad = LightRules.parse({ rules: [{ light: 'red', stdout: '(?=x)' }] });
    assert.throws(() => lightOf(bad, exit(0), { stdout: Buffer.alloc(0), stderr: Buffer.alloc(0) }), /not an RE2 expression/);
  });
});
