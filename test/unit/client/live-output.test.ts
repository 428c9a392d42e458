import assert from 'node:assert/strict';
import type { RunNotice } from '../../../src/client/client.ts';
import { KatafleetError } from '../../../src/model/errors.ts';
import { resultJson } from '../../../src/model/json.ts';
import { aRunResult, aStepResult } from '../../support/builders.ts';
import { clientOf, ended, running } from '../../support/scripted-server.ts';

const said = (id: string, text: string, type = 'stdout') => ({ id, at: 1, type, step: 0, bytes: Buffer.from(text).toString('base64') });
const begins = (id: string) => ({ id, at: 1, type: 'attempt', node: 'a', resumed: false });
const over = (id: string) => ({ id, at: 1, type: 'ended', state: 'finished' });
const lost = (id: string) => ({ id, at: 1, type: 'void', reason: 'the node is gone' });
const gap = (from: string, to: string) => ({ id: to, at: 1, type: 'gap', from, to });

type Page = object[] | 'reset' | 'silence';

/**
 * Runs against a server that tells these pages of events, and the record last. Returns what was printed, the notices, and after which
 * ids it was asked.
 */
async function follow(pages: Page[], stdout: string, { attempt = 1, endedAfter = pages.length, failed = false } = {}) {
  const [printed, notices, asked]: [string[], RunNotice[], string[]] = [[], [], []];
  const result = resultJson(aRunResult({ id: 'r', attempt, steps: [aStepResult({ stdout, stderr: '' })] }));
  const client = clientOf((method, path) => {
    if (method === 'POST') return running();
    const { pathname, searchParams } = new URL(path, 'http://server');
    if (!pathname.endsWith('/events')) {
      if (asked.length < endedAfter) return running();
      return failed ? ended('failed', { error: { code: 'node.lost', message: 'lost' } }) : ended('finished', { result });
    }
    const page = pages[asked.length] ?? assert.fail('asked too often');
    asked.push(searchParams.get('after') ?? '');
    if (page === 'reset') throw new TypeError('fetch failed', { cause: new Error('socket hang up') });
    if (page === 'silence') return { events: [], next: searchParams.get('after') };
    return { events: page, next: (page.at(-1) as { id: string }).id };
  });
  const run = client.run(
    { image: 'i', command: ['x'] },
    {
      onOutput: (_step, _stream, bytes) => void printed.push(bytes.toString()),
      onNotice: (notice) => notice.kind !== 'accepted' && notices.push(notice),
    },
  );
  const error = await run.then(
    () => undefined,
    (thrown: unknown) => (thrown instanceof KatafleetError ? thrown.code : assert.fail(String(thrown))),
  );
  return { printed, notices: notices.filter(({ kind }) => kind !== 'trouble' && kind !== 'again'), asked, error };
}

describe('live output of a run on a server', () => {
  it('comes as it is printed, and goes on after the last id when a call fails', async () => {
    const { printed, notices, asked } = await follow(
      [[begins('1.1'), said('1.2', 'one ')], 'reset', 'silence', [said('1.3', 'two')], [over('1.4')]],
      'one two',
    );
    assert.deepEqual(printed, ['one ', 'two']);
    assert.deepEqual(asked, ['0.0', '1.2', '1.2', '1.2', '1.3']);
    assert.deepEqual(notices, []);
  });

  it('says that an attempt is void, and prints the next one from its beginning', async () => {
    const { printed, notices } = await follow(
      [[begins('1.1'), said('1.2', 'half')], [lost('1.3'), begins('2.1'), said('2.2', 'whole')], [over('2.3')]],
      'whole',
      { attempt: 2 },
    );
    assert.deepEqual(printed, ['half', 'whole']);
    assert.deepEqual(notices, [{ kind: 'void', attempt: 1, reason: 'the node is gone' }]);
  });

  it('is void too if the next attempt is seen first: the server was started again', async () => {
    const { printed, notices } = await follow(
      [[begins('1.1'), said('1.2', 'half')], 'reset', [gap('1.3', '2.0'), begins('3.1'), said('3.2', 'whole'), over('3.3')]],
      'whole',
      { attempt: 3 },
    );
    assert.deepEqual(printed, ['half', 'whole']);
    assert.deepEqual(notices, [{ kind: 'void', attempt: 1 }]);
  });

  it('comes late, and once, where some of it was missed', async () => {
    const { printed, notices } = await follow(
      [
        [begins('1.1'), said('1.2', 'one ')],
        [gap('1.3', '1.8'), said('1.9', 'three ')],
        [said('1.10', 'four'), over('1.11')],
      ],
      'one two three four',
    );
    assert.deepEqual(printed, ['one ', 'two three four']);
    assert.deepEqual(notices, [{ kind: 'gap', late: true }]);
  });

  it('is not printed twice if the server tells an ended run again from its record', async () => {
    const retold = '999999999';
    const { printed, notices } = await follow(
      [
        [begins('1.1'), said('1.2', 'one ')],
        'reset',
        [gap('1.3', `${retold}.0`), lost(`${retold}.1`), begins(`${retold}.2`), said(`${retold}.3`, 'one two'), over(`${retold}.4`)],
      ],
      'one two',
    );
    assert.deepEqual([printed, notices], [['one ', 'two'], []]);
    const late = await follow([[begins(`${retold}.2`), said(`${retold}.3`, 'one two'), over(`${retold}.4`)]], 'one two');
    assert.deepEqual([late.printed, late.notices], [['one two'], []]);
  });

  it('that is missing for good is told, and so is that of a run that fails in the end', async () => {
    const missing = await follow(
      [
        [begins('1.1'), said('1.2', 'a')],
        [gap('1.3', '1.5'), over('1.6')],
      ],
      '',
      { failed: true },
    );
    assert.deepEqual([missing.error, missing.notices], ['node.lost', [{ kind: 'gap', late: false }]]);
    const failed = await follow([[begins('1.1'), said('1.2', 'a'), lost('1.3')], [over('1.4')]], '', { failed: true });
    assert.deepEqual(failed.notices, [{ kind: 'void', attempt: 1, reason: 'the node is gone' }]);
  });

  it('goes on over events that only a later release has', async () => {
    const { printed } = await follow(
      [[begins('1.1'), { id: '1.2', at: 1, type: 'thought', what: {} }, said('1.3', 'x')], [over('1.4')]],
      'x',
    );
    assert.deepEqual(printed, ['x']);
  });
});
