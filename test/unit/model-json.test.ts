import assert from 'node:assert/strict';
import fc from 'fast-check';
import { type FileForm, RecordJson, ResultJson, resultJson, stepJson } from '../../src/model/json.ts';
import { Outcome, outcomeKinds, ReadOutcome, sayOutcome } from '../../src/model/outcome.ts';
import { RunState } from '../../src/model/record.ts';
import { RunResult, StepResult } from '../../src/model/result.ts';
import { unplaced } from '../../src/model/placing.ts';
import { exitCodeOf } from '../../src/cli/exit-code.ts';
import { fullResult, outcomes } from '../golden/inputs.ts';
import { anyResult } from '../support/any-result.ts';

const sent = (value: unknown): unknown => JSON.parse(JSON.stringify(value));
const full = fullResult('r', { kind: 'exited', code: 0 });

describe('the JSON of a result', () => {
  for (const form of ['text', 'base64'] as const satisfies FileForm[]) {
    it(`with files as ${form} is read as the result that it was written from`, () => {
      fc.assert(fc.property(anyResult, (result) => assert.deepEqual(ResultJson.parse(sent(resultJson(result, form))), result)));
    });
  }

  it('is read as it was written for each kind of outcome', () => {
    for (const outcome of outcomes) {
      const result = fullResult('r', outcome);
      assert.deepEqual(ResultJson.parse(sent(resultJson(result))), result);
    }
    const given: readonly string[] = outcomes.map(({ kind }) => kind);
    for (const kind of outcomeKinds)
      assert.ok(given.includes(kind), `add an outcome of the kind ${kind} to outcomes in test/golden/inputs.ts`);
  });

  it('has its files in base64 if the release that wrote it named no encoding', () => {
    const printed = sent(resultJson(full, 'base64')) as { changes: { files: { encoding?: string }[] } };
    for (const file of printed.changes.files) delete file.encoding;
    assert.deepEqual(ResultJson.parse(printed), full);
  });

  it('is read if a later release wrote it: unknown fields are dropped, unknown kinds and reasons replaced', () => {
    const json = sent(resultJson(full)) as Record<string, unknown> & { steps: object[]; changes: object };
    const read = ResultJson.parse({
      ...json,
      mood: 'good',
      outcome: { kind: 'evaporated', degrees: 100 },
      steps: json.steps.map((step) => ({ ...step, ofTheFuture: true })),
      changes: { ...json.changes, omitted: [{ path: 'x', reason: 'haunted' }] },
    });
    assert.match(sayOutcome(read.outcome), /^lost: .*evaporated/);
    assert.deepEqual(read.changes.omitted, [{ path: 'x', reason: 'unknown_kind' }]);
    assert.deepEqual(read.steps, full.steps);
  });

  it('is refused if it lacks a field that every release wrote, or if a known kind of outcome lacks one of its fields', () => {
    const { steps: _steps, ...rest } = sent(resultJson(full)) as { steps: object[] };
    assert.ok(!ResultJson.safeParse(rest).success);
    assert.ok(!ReadOutcome.safeParse({ kind: 'exited' }).success);
  });

  it('has every field of a step', () => {
    const [, step] = full.steps;
    assert.ok(step);
    const written = Object.keys(stepJson(step));
    for (const field of Object.keys(StepResult.shape))
      assert.ok(written.includes(field), `add \`${field}\` to fullStep in test/golden/inputs.ts; if it is there, stepJson drops it`);
  });
});

describe('the JSON of a run', () => {
  const record = { id: 'r', tenant: 't', image: 'i', placing: unplaced, acceptedAt: 1, attempts: [] };

  it('is read in each state', () => {
    for (const state of RunState.options) {
      const said = { ...record, state, ...(state === 'finished' ? { endedAt: 2, result: resultJson(full) } : {}) };
      const read = RecordJson.parse(sent(said));
      assert.deepEqual([read.state, read.result], [state, state === 'finished' ? full : undefined]);
    }
  });

  it('gives an attempt its default if the release that wrote it had no sessions', () => {
    const attempt = { number: 1, node: 'n', startedAt: 1, state: 'running' };
    assert.equal(RecordJson.parse({ ...record, state: 'running', attempts: [attempt] }).attempts[0]?.resumed, false);
  });
});

describe('the schema of results', () => {
  it('takes every result that a run can have', () => {
    fc.assert(fc.property(anyResult, (result) => assert.deepEqual(RunResult.parse(result), result)));
  });

  it('has words and an exit code for each kind of outcome', () => {
    for (const outcome of outcomes) {
      assert.deepEqual(Outcome.parse(outcome), outcome);
      assert.ok(sayOutcome(outcome).length > 3, outcome.kind);
      assert.ok(Number.isInteger(exitCodeOf(outcome)), outcome.kind);
    }
  });
});
