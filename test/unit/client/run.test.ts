import assert from 'node:assert/strict';
import { Client } from '../../../src/client/client.ts';
import { KatafleetError } from '../../../src/model/errors.ts';
import { resultJson } from '../../../src/model/json.ts';
import { requestOf, RunJson } from '../../../src/model/request-json.ts';
import { noChanges } from '../../../src/model/result.ts';
import { aRunResult, aStepResult } from '../../support/builders.ts';
import { clientOf, ended, running, scripted, unknownRoute } from '../../support/scripted-server.ts';

const bytes = Buffer.from([0xff, 0, 0x41]);
const result = aRunResult({
  resumed: true,
  steps: [aStepResult({ stdout: bytes, stderr: 'said', wallMs: 1, userMs: 1, peakMemory: 1 })],
  changes: {
    ...noChanges(),
    files: [{ change: 'created', path: 'made', mode: 0o755, mtimeNs: 1_700_000_000_123_456_789n, content: bytes }],
    folders: [{ path: 'empty', mode: 0o700, mtimeNs: 5n }],
  },
});
const request = {
  image: 'i',
  files: [{ path: 'in', mode: 0o640, mtimeNs: 7n, content: bytes }],
  folders: [{ path: 'there', mode: 0o755, mtimeNs: 9n }],
  steps: [{ argv: ['x'], stdin: bytes }],
  session: 'kata/avatar',
};
const hasCode = (code: string) => (thrown: unknown) => thrown instanceof KatafleetError && thrown.code === code;

describe('Client.run', () => {
  it('sends what was asked for, waits, and returns the result byte for byte', async () => {
    const { client, asked, sent } = scripted(running(), unknownRoute(), ended('finished', { result: resultJson(result) }));
    const heard: string[] = [];
    assert.deepEqual(
      await client.run(request, { onOutput: (step, stream, said) => void heard.push(`${step} ${stream} ${said.toString('hex')}`) }),
      result,
    );
    assert.deepEqual(asked, ['POST /v1/runs', 'GET /v1/runs/r/events', 'GET /v1/runs/r'], 'a server of 0.1 has no events');
    assert.deepEqual(heard, ['0 stdout ff0041', `0 stderr ${Buffer.from('said').toString('hex')}`]);
    const { image, files, folders, steps, session } = requestOf(RunJson.parse(sent[0]), {});
    const { steps: _steps, ...others } = request;
    assert.deepEqual({ image, files, folders, session }, others);
    assert.deepEqual([steps[0]?.argv, steps[0]?.stdin], [['x'], bytes]);
  });

  it('throws the error that the run failed with', async () => {
    const error = { code: 'image.unknown', message: 'no image', hint: 'build it' };
    await assert.rejects(
      scripted(ended('failed', { error })).client.run(request),
      (thrown) => thrown instanceof KatafleetError && thrown.code === 'image.unknown' && thrown.hint === 'build it',
    );
    await assert.rejects(scripted(ended('cancelled')).client.run(request), hasCode('run.cancelled'));
  });

  it('cancels the run when its signal aborts, even while the server accepts it', async () => {
    for (const when of ['POST', 'GET'] as const) {
      const cancel = new AbortController();
      let cancelled = () => {};
      const deleted = new Promise<void>((resolve) => (cancelled = resolve));
      const client = clientOf(async (method) => {
        if (method === when) cancel.abort();
        if (method === 'DELETE') cancelled();
        if (method !== 'GET') return running();
        await deleted;
        return ended('cancelled');
      });
      await assert.rejects(client.run(request, { signal: cancel.signal }), hasCode('run.cancelled'), when);
    }
  });

  it('sends nothing when its signal has aborted already', async () => {
    const { client, asked } = scripted();
    await assert.rejects(client.run(request, { signal: AbortSignal.abort(new Error('no need')) }), /no need/);
    assert.deepEqual(asked, []);
  });

  it('refuses a request with a fault before it sends anything', async () => {
    const { client, asked } = scripted();
    await assert.rejects(client.run({ image: 'i' }), hasCode('request.invalid'));
    await assert.rejects(client.run({ image: 'i', command: ['x'], steps: [{ argv: ['x'] }] }), hasCode('request.invalid'));
    const files = [{ path: 'a', content: 7 as unknown as string }];
    await assert.rejects(client.run({ image: 'i', command: ['x'], files }), hasCode('request.invalid'));
    assert.deepEqual(asked, []);
  });
});

describe('Client.wait', () => {
  it('stops waiting when its signal aborts, and leaves the run alone', async () => {
    const stop = new AbortController();
    const asked: string[] = [];
    const client = clientOf((method, _path, { signal }) => {
      asked.push(method);
      stop.abort(new Error('enough'));
      return new Promise((_resolve, reject) => signal?.addEventListener('abort', () => reject(signal.reason as Error)));
    });
    await assert.rejects(client.wait('r', { signal: stop.signal }), /enough/);
    assert.deepEqual(asked, ['GET']);
  });

  it('returns the run as it is when its time is up', async () => {
    const { client, asked } = scripted(running());
    assert.equal((await client.wait('r', { ms: 0 })).state, 'running');
    assert.deepEqual(asked, ['GET /v1/runs/r']);
  });
});

describe('the answer of a server', () => {
  const failing = (answer: unknown) => clientOf(() => answer).nodes();

  it('if it is an error, is thrown with its code, hint and time to try again', async () => {
    const error = { code: 'server.busy', message: 'busy', fault: 'system', retry: true, hint: 'later', retryAfterMs: 1_000 };
    await assert.rejects(failing(Response.json({ error }, { status: 503 })), (thrown: KatafleetError) => {
      const { code, message, hint, retryAfterMs, retry } = thrown;
      assert.deepEqual(
        { code, message, hint, retryAfterMs, retry },
        { code: 'server.busy', message: 'busy', hint: 'later', retryAfterMs: 1_000, retry: true },
      );
      return true;
    });
  });

  it('with an unknown code of a later release is thrown as internal, with its message', async () => {
    const error = { code: 'moon.full', message: 'the moon is full' };
    await assert.rejects(failing(Response.json({ error }, { status: 500 })), { code: 'internal', message: 'the moon is full' });
  });

  it('of another program is server.unreachable', async () => {
    for (const status of [200, 404]) await assert.rejects(failing(new Response('<html>', { status })), hasCode('server.unreachable'));
    await assert.rejects(failing(Response.json({ nodes: [{ name: 7 }] })), /nodes\.0\.name/);
  });

  it('if it is missing, is server.unreachable, with the reason', async () => {
    const client = new Client('http://127.0.0.1:1');
    await assert.rejects(
      client.images(),
      (thrown) => hasCode('server.unreachable')(thrown) && /127\.0\.0\.1:1 \(.*\)/.test((thrown as Error).message),
    );
    assert.equal(await client.answers(), false);
  });

  it('may have fields that this release does not know; they are dropped', async () => {
    const image = { name: 'i', ids: [], size: 1, labels: {}, ready: ['a'], waiting: [], obtainable: [], unable: [] };
    assert.deepEqual(await clientOf(() => ({ images: [{ ...image, colour: 'blue' }], next: 1 })).images(), [image]);
  });
});
