import assert from 'node:assert/strict';
import { type FindingKind, findings, type History, type KeptRun, type Submission } from '../../stress/load/history.ts';

/** A run that was acknowledged, executed once, and told to have ended. */
const told = (more: Partial<Submission> = {}): Submission => ({
  key: 'k',
  nonce: 'nonce-1',
  sentAt: 0,
  sent: 1,
  refused: 0,
  told: [
    { at: 10, id: 'run' },
    { at: 20, id: 'run', end: 'finished, hash 1' },
  ],
  ...more,
});
const kept = (more: Partial<KeptRun> = {}): KeptRun => ({
  id: 'run',
  key: 'k',
  state: 'finished',
  end: 'finished, hash 1',
  attempts: [{ number: 1, state: 'accepted' }],
  outcome: 'exited 0',
  printed: 'nonce-1 an-execution',
  wrote: 'nonce-1',
  ...more,
});
const unended = ({ end: _end, printed: _printed, wrote: _wrote, outcome: _outcome, ...run }: KeptRun): KeptRun => ({
  ...run,
  state: 'waiting',
  attempts: [],
});
const once = { nonce: 'nonce-1', at: 5 };
const unanswered = { told: [] };

function found(more: Partial<History>): [FindingKind, number][] {
  const all = findings({ submissions: [told()], kept: [kept()], executions: [once], kills: [], ...more });
  assert.ok(
    all.every(({ key, text }) => key === 'k' && text !== ''),
    JSON.stringify(all),
  );
  return Array.from(new Set(all.map(({ kind }) => kind)), (kind) => [kind, all.filter((one) => one.kind === kind).length]);
}

describe('the check of a storm’s history', () => {
  it('finds nothing where each run has its one result', () => {
    assert.deepEqual(found({}), []);
    const attempts = [
      { number: 1, state: 'lost' },
      { number: 4, state: 'accepted' },
    ];
    assert.deepEqual(found({ kept: [kept({ attempts })], executions: [once, once] }), [], 'executed again, in an attempt of its own');
  });

  it('finds an acknowledged run that is not there', () => {
    assert.deepEqual(found({ kept: [] }), [['lost', 1]]);
  });

  it('finds an acknowledged run that does not end', () => {
    const acknowledged = told({ told: [{ at: 10, id: 'run' }] });
    assert.deepEqual(found({ submissions: [acknowledged], kept: [unended(kept())] }), [
      ['lost', 1],
      ['doubled', 1],
    ]);
    assert.deepEqual(found({ submissions: [acknowledged], kept: [unended(kept())], executions: [] }), [['lost', 1]]);
  });

  it('finds a key with two runs, be it that clients were told of both or that both are stored', () => {
    const both = told({ told: [...told().told, { at: 30, id: 'other', end: 'finished, hash 2' }] });
    const other = kept({ id: 'other', end: 'finished, hash 2' });
    assert.ok(found({ submissions: [both], kept: [kept(), other], executions: [once] }).some(([kind]) => kind === 'doubled'));
    assert.deepEqual(found({ submissions: [told(unanswered)], kept: [kept(), other] }), [['doubled', 1]]);
  });

  it('finds two accepted attempts, an attempt after the accepted one, and a number that is used again', () => {
    const accepted = { number: 1, state: 'accepted' };
    assert.deepEqual(found({ kept: [kept({ attempts: [accepted, { number: 2, state: 'accepted' }] })] }), [['doubled', 1]]);
    assert.deepEqual(found({ kept: [kept({ attempts: [accepted, { number: 2, state: 'lost' }] })] }), [['doubled', 1]]);
    assert.deepEqual(found({ kept: [kept({ attempts: [{ number: 1, state: 'lost' }, accepted] })] }), [['doubled', 1]]);
  });

  it('finds a result that changed after it was told, and one that is gone', () => {
    assert.deepEqual(found({ kept: [kept({ end: 'finished, hash 2' })] }), [['changed', 1]]);
    assert.ok(found({ kept: [unended(kept())] }).some(([kind]) => kind === 'changed'));
  });

  it('finds output and files that are not those of the run', () => {
    assert.deepEqual(found({ kept: [kept({ printed: 'nonce-2 an-execution' })] }), [['wrong', 1]]);
    assert.deepEqual(found({ kept: [kept({ wrote: 'nonce-2' })] }), [['wrong', 1]]);
    const { wrote: _wrote, ...without } = kept();
    assert.deepEqual(found({ kept: [without] }), [['wrong', 1]]);
  });

  it('finds more executions than attempts, and lets a kill hide one attempt from the journal', () => {
    assert.deepEqual(found({ executions: [once, once] }), [['doubled', 1]]);
    assert.deepEqual(found({ executions: [once, once], kills: [3] }), []);
    assert.deepEqual(found({ executions: [once, once, once], kills: [3] }), [['doubled', 1]]);
    assert.deepEqual(
      found({ submissions: [told({ sentAt: 50 })], executions: [once, once], kills: [3] }),
      [['doubled', 1]],
      'a kill before',
    );
  });

  it('takes a request without an answer that was stored for a run like all, and finds one that was executed and not stored', () => {
    assert.deepEqual(found({ submissions: [told(unanswered)] }), []);
    assert.deepEqual(found({ submissions: [told(unanswered)], kept: [], executions: [] }), []);
    assert.deepEqual(found({ submissions: [told(unanswered)], kept: [] }), [['unasked', 1]]);
  });

  it('finds a request that was refused and is stored, unless it was sent once more', () => {
    assert.deepEqual(found({ submissions: [told({ ...unanswered, refused: 1 })] }), [['refused', 1]]);
    assert.deepEqual(found({ submissions: [told({ ...unanswered, refused: 1, sent: 2 })] }), []);
  });

  it('finds a run that failed, and a program that did not succeed', () => {
    const { end } = kept();
    const failed = { ...unended(kept()), state: 'failed', error: 'node.lost: gone', attempts: [{ number: 1, state: 'failed' }] };
    assert.deepEqual(found({ kept: [{ ...failed, ...(end === undefined ? {} : { end }) }] }), [['failed', 1]]);
    assert.deepEqual(found({ kept: [kept({ outcome: 'signalled 9' })] }), [['failed', 1]]);
  });
});
