import assert from 'node:assert/strict';
import type { ServerClient } from '../../src/client/client.ts';
import { runThere } from '../../src/client/remote.ts';
import { KatafleetError } from '../../src/model/errors.ts';
import { noChanges, type RunResult } from '../../src/model/result.ts';
import { resultJson } from '../../src/model/json.ts';
import { requestOf, RunJson } from '../../src/model/request-json.ts';

const bytes = Buffer.from([0xff, 0, 0x41]);
const result: RunResult = {
  id: 'r',
  image: 'i',
  node: 'n',
  attempt: 1,
  warm: true,
  resumed: true,
  outcome: { kind: 'exited', code: 0 },
  steps: [
    {
      outcome: { kind: 'exited', code: 0 },
      stdout: bytes,
      stderr: Buffer.from('said'),
      stdoutBytes: 3,
      stderrBytes: 4,
      stdoutCut: false,
      stderrCut: false,
      wallMs: 1,
      userMs: 1,
      systemMs: 0,
      peakMemory: 1,
      oomKills: 0,
    },
  ],
  changes: {
    ...noChanges(),
    files: [{ change: 'created', path: 'made', mode: 0o755, mtimeNs: 1_700_000_000_123_456_789n, content: bytes }],
    folders: [{ path: 'empty', mode: 0o700, mtimeNs: 5n }],
  },
  timings: { queueMs: 0, acquireMs: 0, executeMs: 0, collectMs: 0, totalMs: 0 },
};
const request = {
  image: 'i',
  files: [{ path: 'in', mode: 0o640, mtimeNs: 7n, content: bytes }],
  folders: [{ path: 'there', mode: 0o755, mtimeNs: 9n }],
  steps: [{ argv: ['x'], stdin: bytes }],
  session: 'kata/avatar',
};

/** A server that answers from a list, and what it was asked. */
function server(...answers: object[]): { client: ServerClient; asked: string[]; sent: unknown[] } {
  const [asked, sent]: [string[], unknown[]] = [[], []];
  const call = (method: string, path: string, body?: object) => {
    asked.push(`${method} ${path.split('?', 1)[0] ?? ''}`);
    if (body) sent.push(body);
    return Promise.resolve(method === 'DELETE' ? {} : JSON.parse(JSON.stringify(answers.shift() ?? assert.fail('asked too often'))));
  };
  return { client: { call } as unknown as ServerClient, asked, sent };
}

describe('a run on a katafleet that serves', () => {
  it('comes back as it was, byte for byte, once it is over; what is sent is what was asked for', async () => {
    const { client, asked, sent } = server(
      { id: 'r', state: 'running' },
      { id: 'r', state: 'finished', endedAt: 1, result: resultJson(result) },
    );
    const heard: string[] = [];
    assert.deepEqual(
      await runThere(client, request, { onOutput: (step, stream, said) => void heard.push(`${step} ${stream} ${said.toString('hex')}`) }),
      result,
    );
    assert.deepEqual(asked, ['POST /v1/runs', 'GET /v1/runs/r']);
    assert.deepEqual(heard, ['0 stdout ff0041', `0 stderr ${Buffer.from('said').toString('hex')}`]);
    const { image, files, folders, steps, session } = requestOf(RunJson.parse(sent[0]), {});
    assert.deepEqual([image, files, folders, session], [request.image, request.files, request.folders, request.session]);
    assert.deepEqual([steps[0]?.argv, steps[0]?.stdin], [['x'], bytes]);
  });

  it('fails with the server’s own code and words', async () => {
    const error = { code: 'image.unknown', message: 'no image', hint: 'build it' };
    const failed = runThere(server({ id: 'r', state: 'failed', endedAt: 1, error }).client, request);
    await assert.rejects(
      failed,
      (thrown) => thrown instanceof KatafleetError && thrown.code === 'image.unknown' && thrown.hint === 'build it',
    );
    const gone = runThere(server({ id: 'r', state: 'cancelled', endedAt: 1 }).client, request);
    await assert.rejects(gone, (thrown) => thrown instanceof KatafleetError && thrown.code === 'run.cancelled');
  });

  it('is cancelled there when it is cancelled here, even while it is being accepted', async () => {
    for (const when of ['POST', 'GET'] as const) {
      const cancel = new AbortController();
      let over = () => {};
      const deleted = new Promise<void>((resolve) => (over = resolve));
      const call = async (method: string) => {
        if (method === when) cancel.abort();
        if (method === 'DELETE') over();
        if (method === 'POST') return { id: 'r', state: 'waiting' };
        await deleted;
        return { id: 'r', state: 'cancelled', endedAt: 1 };
      };
      const running = runThere({ call } as unknown as ServerClient, request, { signal: cancel.signal });
      await assert.rejects(running, (thrown) => thrown instanceof KatafleetError && thrown.code === 'run.cancelled', when);
    }
  });
});
