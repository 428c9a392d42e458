import assert from 'node:assert/strict';
import { Client, type RunNotice } from '../../../src/client/client.ts';
import { retryAfter, CallTrouble } from '../../../src/client/trouble.ts';
import { KatafleetError } from '../../../src/model/errors.ts';
import { resultJson } from '../../../src/model/json.ts';
import { api } from '../../support/api.ts';
import { aRunResult } from '../../support/builders.ts';
import { type Fault, faultProxy } from '../../support/fault-proxy.ts';
import { clientOf, ended, running, unknownRoute } from '../../support/scripted-server.ts';

const hi = { image: 'any', command: ['echo', 'hi'] };
const every: Fault[] = ['refuse', 'drop', 'cut', 'busy', 'away'];

/** The API behind a proxy that breaks the calls of a kind as often as there are faults for it. */
async function behind(faults: { POST?: Fault[]; GET?: Fault[]; DELETE?: Fault[] }) {
  const server = await api(['a']);
  const left = { POST: [...(faults.POST ?? [])], GET: [...(faults.GET ?? [])], DELETE: [...(faults.DELETE ?? [])] };
  const proxy = await faultProxy(await server.listen(), ({ method }) => left[method as keyof typeof left].shift() ?? 'pass');
  const close = async () => {
    await proxy.close();
    server.app.server.closeAllConnections();
    await server.close();
  };
  return { ...server, proxy, client: new Client(proxy.url), close };
}

describe('Client.run over a line that breaks', () => {
  it('makes one run of a submission whose answers are lost, and returns its result', async () => {
    const { client, proxy, journal, close } = await behind({ POST: ['drop', 'cut', 'drop'] });
    const notices: string[] = [];
    const { steps } = await client.run(hi, { onNotice: ({ kind }) => void notices.push(kind) });
    assert.equal(steps[0]?.stdout.toString(), 'echo hi');
    assert.equal(proxy.calls.filter((call) => call.startsWith('POST')).length, 4);
    assert.equal((await journal.list({ limit: 10 })).runs.length, 1, 'every submission was accepted, and they are one run');
    assert.deepEqual(notices, ['trouble', 'again', 'accepted']);
    await close();
  });

  for (const fault of every)
    it(`goes on when each kind of call fails once: ${fault}`, async () => {
      const { client, journal, close } = await behind({ POST: [fault], GET: [fault, 'pass', fault] });
      const printed: string[] = [];
      const result = await client.run(hi, { onOutput: (_step, stream, bytes) => void printed.push(`${stream} ${bytes.toString()}`) });
      assert.deepEqual(result.outcome, { kind: 'exited', code: 0 });
      assert.deepEqual(printed, ['stdout echo hi'], 'its output comes once');
      assert.equal((await journal.list({ limit: 10 })).runs.length, 1);
      await close();
    });

  it('cancels although the call that cancels is lost', async () => {
    const { client, driver, close } = await behind({ DELETE: ['refuse', 'drop', 'busy'] });
    const cancel = new AbortController();
    const run = client.run(
      { ...hi, command: ['hold'] },
      { signal: cancel.signal, onNotice: ({ kind }) => kind === 'accepted' && cancel.abort() },
    );
    assert.ok(await run.then(({ outcome }) => outcome.kind === 'cancelled', hasCode('run.cancelled')));
    assert.equal(driver('a').holding, 0);
    await close();
  });

  it('gives up at once without patience, and never tries what can’t pass', async () => {
    const { client, proxy, close } = await behind({ POST: ['busy', 'pass'] });
    await assert.rejects(client.run(hi, { patienceMs: 0 }), { code: 'server.busy' });
    await assert.rejects(client.run({ image: 'nothing:here', command: ['x'] }), { code: 'image.unknown' });
    assert.equal(proxy.calls.length, 2);
    await close();
  });

  it('says how long it tries, and that the server goes on with the run', async () => {
    const notices: RunNotice[] = [];
    const server = clientOf((method) => {
      if (method === 'POST') return running();
      throw new TypeError('fetch failed', { cause: Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' }) });
    });
    await assert.rejects(
      server.run(hi, { patienceMs: 700, onNotice: (notice) => notices.push(notice) }),
      ({ code, hint = '' }: KatafleetError) => code === 'server.unreachable' && /the run r /.test(hint),
    );
    const [, trouble] = notices;
    assert.ok(trouble?.kind === 'trouble' && trouble.ms === 700 && trouble.error.message.includes('ECONNREFUSED'));
    assert.equal(notices.length, 2, 'a long outage is told once');
  });

  it('waits as long as Retry-After says, a minute at most', async () => {
    for (const [said, ms] of [
      ['2', 2_000],
      ['86400', 60_000],
      ['soon', 0],
    ] as const) {
      const error = { code: 'queue.full', message: 'full', fault: 'user', retry: true };
      const server = clientOf(() => Response.json({ error }, { status: 429, headers: { 'retry-after': said } }));
      await assert.rejects(server.nodes(), (thrown) => thrown instanceof CallTrouble && thrown.passing && thrown.afterMs === ms, said);
    }
    assert.equal(retryAfter('Sun, 06 Nov 1994 08:49:37 GMT', Date.UTC(1994, 10, 6, 8, 49, 30)), 7_000);
  });

  it('tries again what a later release has no room for, whatever its code', async () => {
    let asked = 0;
    const server = clientOf(() => {
      asked += 1;
      const error = { code: 'moon.full', message: 'the moon is full', fault: 'system', retry: true };
      return asked === 1 ? Response.json({ error }, { status: 503 }) : ended('finished', { result });
    });
    assert.equal((await server.run(hi)).id, 'r');
  });

  it('does not read an answer that is too large', async () => {
    let pulled = 0;
    const endless = new ReadableStream({
      pull: (stream) => {
        pulled += 1;
        stream.enqueue(Buffer.alloc(4 * 1024 ** 2, ' '));
      },
    });
    await assert.rejects(clientOf(() => new Response(endless)).nodes(), ({ code }: KatafleetError) => code === 'answer.too_large');
    assert.ok(pulled < 20);
  });
});

const result = resultJson(aRunResult({ id: 'r' }));
const hasCode = (code: string) => (thrown: unknown) => thrown instanceof KatafleetError && thrown.code === code;

describe('what a later release answers', () => {
  it('is read although its outcome, light, state and attempts are new', async () => {
    const later = {
      ...(result as { steps: object[] }),
      light: 'blue',
      outcome: { kind: 'teleported', to: 'moon' },
    };
    const attempt = { number: 1, node: 'a', startedAt: 1, state: 'hovering' };
    const client = clientOf((method, path) => {
      if (path.includes('/events')) return unknownRoute();
      return method === 'POST'
        ? running({ state: 'warping' })
        : running({ state: 'landed', endedAt: 3, attempts: [attempt], result: later });
    });
    const run = await client.wait('r');
    assert.deepEqual([run.state, run.attempts[0]?.state, run.result?.light], ['finished', 'failed', 'amber']);
    assert.equal(run.result?.outcome.kind, 'lost');
    assert.equal((await client.submit(hi)).state, 'running');
    const { attempts: _attempts, ...summary } = running({ state: 'landed', endedAt: 3 });
    const listed = await clientOf(() => ({ runs: [summary], counts: { landed: 1 } })).list();
    assert.equal(listed[0]?.state, 'failed');
  });
});
