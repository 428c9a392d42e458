import assert from 'node:assert/strict';
import type { LightRules } from '../../src/model/lights.ts';
import { omittedBytes, shownOutput } from '../../src/model/output.ts';
import type { StepResult } from '../../src/model/result.ts';
import { readTestRecord, testRecord } from '../../src/katas/record.ts';
import { lightOf } from '../../src/runs/attempt/lights.ts';
import { stepJson } from '../../src/model/json.ts';
import { result } from '../support/katas.ts';

const exited = { kind: 'exited', code: 0 } as const;
const [whole] = result().steps;
assert.ok(whole);
/** A test tool that says much, and in its last line what came of it. */
const cut: StepResult = {
  ...whole,
  stdout: Buffer.from('debug\n'),
  stdoutTail: Buffer.from('bug\nOK\n'),
  stdoutOmitted: 1_000,
  stdoutBytes: 1_013,
  stdoutCut: true,
};
const rules = (pattern: string): LightRules => ({ rules: [{ light: 'green', exit: [0], output: pattern }], otherwise: 'amber' });

describe('output of which the middle was dropped', () => {
  it('gives the light by its beginning and by its end', () => {
    assert.equal(lightOf(rules('^OK$'), exited, cut), 'green');
    assert.equal(lightOf(rules('^debug$'), exited, cut), 'green');
    assert.equal(lightOf(rules('^bug$'), exited, cut), 'amber', 'what follows the gap is no beginning of a line');
    const contiguous = { ...cut, stdout: Buffer.from('O'), stdoutTail: Buffer.from('K\n'), stdoutOmitted: 0 };
    assert.equal(lightOf(rules('^OK$'), exited, contiguous), 'green', 'nothing was dropped');
  });

  it('is shown with a line that says how much', () => {
    assert.equal(shownOutput(cut, 'stdout').toString(), 'debug\n\n[katafleet: 1000 bytes of output left out here]\nbug\nOK\n');
    const { stdoutTail: _tail, stdoutOmitted: _omitted, ...older } = cut;
    assert.equal(omittedBytes(older, 'stdout'), 1_007, 'of a supervisor that keeps no end');
    assert.equal(shownOutput(older, 'stdout').toString(), 'debug\n\n[katafleet: 1007 bytes of output left out here]\n');
    assert.equal(shownOutput(whole, 'stdout'), whole.stdout);
  });

  it('has its end as a field of its own in JSON, with the bytes where it is no text', () => {
    const json = stepJson({ ...cut, stderrTail: Buffer.from([0xff]) }) as Record<string, unknown>;
    assert.deepEqual(
      [json['stdout'], json['stdoutTail'], json['stdoutOmitted'], json['stderrTail'], json['stderrTailBase64']],
      ['debug\n', 'bug\nOK\n', 1_000, '\ufffd', '/w=='],
    );
    assert.ok(!('stdoutTail' in stepJson(whole)));
  });

  it('is told in a kata’s record, and a record of an older katafleet is read', () => {
    const none = { created: [], changed: [], deleted: [], hidden: [], ignored: [], leftOut: [], leftOutCount: 0 };
    const record = (step: StepResult) => testRecord(1, 0, 'i', { kind: 'ran', result: result({}, { steps: [step] }) }, none);
    const read = readTestRecord(Buffer.from(JSON.stringify(record({ ...cut, exitCode: 0 }))), 'it');
    assert.deepEqual([read.steps[0]?.stdoutOmitted, read.steps[0]?.exitCode], [1_000, 0]);
    const { exitCode: _code, ...before } = record(whole).steps[0] ?? assert.fail();
    readTestRecord(Buffer.from(JSON.stringify({ ...record(whole), steps: [before] })), 'an older one');
  });
});
