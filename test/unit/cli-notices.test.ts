import assert from 'node:assert/strict';
import type { RunNotice } from '../../src/client/client.ts';
import { serverNotices, voidAttempts } from '../../src/cli/show/server-notices.ts';
import { KatafleetError } from '../../src/model/errors.ts';

function said(...notices: RunNotice[]): { told: string[]; warned: string[] } {
  const [told, warned]: [string[], string[]] = [[], []];
  const say = serverNotices(
    (text) => told.push(text),
    (text) => warned.push(text),
  );
  for (const notice of notices) say(notice);
  return { told, warned };
}

const away = (ms: number): RunNotice => ({ kind: 'trouble', ms, error: new KatafleetError('server.unreachable', 'no katafleet answers') });

describe('what katafleet run says on the way', () => {
  it('is why a call failed, how long it tries, and whether the server has the run', () => {
    const { told, warned } = said(away(10_000), { kind: 'accepted', id: 'r' }, away(300_000), { kind: 'again' }, away(0));
    assert.deepEqual(warned, []);
    assert.deepEqual(told, [
      'no katafleet answers: trying again for 10s',
      'no katafleet answers: trying again for 5m; the server has accepted the run r',
      'the server answers again',
    ]);
  });

  it('is which output is void, late or missing, even to those who want the output only', () => {
    const { told, warned } = said(
      { kind: 'void', attempt: 1, reason: 'the node is gone' },
      { kind: 'void', attempt: 2 },
      { kind: 'gap', late: true },
      { kind: 'gap', late: false },
    );
    assert.deepEqual(told, []);
    assert.match(warned.join('\n'), /^attempt 1 was lost \(the node is gone\): .*void\nattempt 2 was lost: .*void\n.*has ended\n.*missing/);
  });

  it('is the same for a run on a fleet of its own: only an attempt that has printed is void', () => {
    const notices: RunNotice[] = [];
    const { onAttempt, printed } = voidAttempts((notice) => notices.push(notice));
    onAttempt(1);
    onAttempt(2);
    printed();
    printed();
    onAttempt(4);
    printed();
    assert.deepEqual(notices, [{ kind: 'void', attempt: 2 }]);
  });
});
