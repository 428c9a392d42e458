import { createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Placing } from '../../src/model/placing.ts';
import type { Outcome } from '../../src/model/outcome.ts';
import type { RunRequest } from '../../src/model/request.ts';
import type { RunResult } from '../../src/model/result.ts';
import { Client } from '../../src/client/client.ts';
import { asJson } from '../../src/cli/show/report.ts';
import { buildApp } from '../../src/http/app.ts';
import type { AppServices } from '../../src/http/services.ts';
import { Store } from '../../src/store/store.ts';
import { goldenJson } from '../support/golden.ts';
import { fullResult, hostileNames, outcomes, plainResult, timeOf } from './inputs.ts';

/** What the API and `run --json` answer, and what the client sends, beside what they mean. */
export interface ClientExpectation {
  results: { id: string; result: RunResult; answer: object; printed: object }[];
  /** Runs that have no result. */
  others: { id: string; answer: object }[];
  request: RunRequest;
  sent: object;
}

const idOf = (number: number) => `00000000-0000-4000-8000-${String(number).padStart(12, '0')}`;

/** The results of release 0.1, whose ids are their places here. Never changed: later releases find a kept result by its id. */
const results01 = [
  ...['plain exited 0', 'plain exited 255', 'plain signalled 9', 'plain timed_out wall', 'plain timed_out cpu', 'plain out_of_memory'],
  ...['plain out_of_disk', 'plain cancelled', 'plain lost', 'full cancelled', 'full lost'],
];

/** Returns the id of a result. It follows from the result's name, so an outcome can be added at any place of the list. */
function resultId(form: 'plain' | 'full', outcome: Outcome): string {
  const fields = outcome.kind === 'lost' ? [outcome.kind] : Object.values<string | number>(outcome);
  const name = [form, ...fields].join(' ');
  const at = results01.indexOf(name);
  return idOf(at >= 0 ? at : 1_000 + createHash('sha256').update(name).digest().readUIntBE(0, 4));
}
const placing = Placing.parse({ tenant: 'class-7b', constraints: ['zone==a'], architecture: 'arm64' });
const wanted: RunRequest = { image: 'gcc-assert', files: [], steps: [{ argv: ['x'] }] };
const error = { code: 'image.unknown', message: 'no image\n\u001b[0m', hint: 'build it' };

/** Every kind of outcome without what is optional, and some with every field: binary output, ends, omissions, hostile names and times. */
const results: RunResult[] = [
  ...outcomes.map((outcome) => plainResult(resultId('plain', outcome), outcome)),
  ...outcomes
    .filter(({ kind }) => kind === 'cancelled' || kind === 'lost')
    .map((outcome) => fullResult(resultId('full', outcome), outcome)),
];

/** A request with every field that a server is asked for, the limits apart. */
const request: RunRequest = {
  image: 'gcc-assert',
  files: hostileNames.map((path, index) => ({
    path,
    mode: 0o640,
    ...(index % 3 === 0 ? {} : { mtimeNs: timeOf(index) }),
    content: Buffer.from([index, 0, 0xff]),
  })),
  folders: [{ path: 'hollow\udc80', mode: 0o700, mtimeNs: timeOf(3) }, { path: 'plain' }],
  steps: [
    {
      argv: ['bash', '-c', 'cat'],
      env: { LANG: 'C' },
      stdin: Buffer.from([0xff, 0]),
      cwd: '/sandbox/a',
      limits: { wallMs: 500 },
      required: true,
    },
    { argv: ['true'] },
  ],
  profile: { memory: 64 * 1024 ** 2 },
  collect: false,
  back: ['out/'],
  session: 'kata/avatar',
};

/** Runs of each state in a journal, and the API over it. */
async function answers(): Promise<Pick<ClientExpectation, 'results' | 'others'>> {
  await using store = await Store.open(':memory:');
  const accept = (id: string) => store.accept({ id, tenant: placing.tenant, key: `key of ${id}`, request: wanted, placing, at: 1_000 });
  const begun = async (id: string) => {
    await accept(id);
    await store.begin(id, 1, { node: 'nöde "1"', warm: true, resumed: false }, 1_001);
  };
  for (const result of results) {
    await begun(result.id);
    if (result.attempt === 1) await store.finish(result.id, 1, result, 1_002);
    else {
      await store.lost(result.id, 1, 'the node is gone', 1_002);
      await store.begin(result.id, 2, { node: 'n', resumed: true }, 1_003);
      await store.finish(result.id, 2, result, 1_004);
    }
  }
  const [waiting, running, failed, cancelled] = [90, 91, 92, 93].map(idOf) as [string, string, string, string];
  for (const id of [waiting, cancelled]) await accept(id);
  for (const id of [running, failed]) await begun(id);
  await store.fail(failed, 1, error, 1_005);
  await store.cancel(cancelled, 1_006);
  const runs = {
    ended: () => Promise.resolve(),
    jobOf: () => undefined,
    resultBytes: (id: string) => store.resultBytes(id),
    look: (id: string) => store.look(id),
    dispatcher: { position: () => 1 },
  };
  const app = buildApp({ runs } as unknown as AppServices, { bodyLimit: 1_000, hosts: { loopbackOnly: true, names: [] } });
  const answer = async (id: string) => (await app.inject({ url: `/v1/runs/${id}`, headers: { host: '127.0.0.1' } })).json<object>();
  try {
    return {
      results: await Promise.all(
        results.map(async (result) => ({
          id: result.id,
          result,
          answer: await answer(result.id),
          printed: JSON.parse(JSON.stringify(asJson(result))) as object,
        })),
      ),
      others: await Promise.all([waiting, running, failed, cancelled].map(async (id) => ({ id, answer: await answer(id) }))),
    };
  } finally {
    await app.close();
  }
}

/** What the client sends for {@link request}. */
async function sentRequest(): Promise<object> {
  let sent = '';
  const client = new Client('http://127.0.0.1:1', {
    fetch: (_url, options) => {
      sent = options?.body as string;
      return Promise.resolve(Response.json({ error }, { status: 404 }));
    },
  });
  await client.run(request).catch(() => undefined); // only what was sent counts
  return JSON.parse(sent) as object;
}

/** Writes client.json: what the server answers to a client, and what the client sends. */
export async function makeClient(folder: string): Promise<void> {
  const expectation: ClientExpectation = { ...(await answers()), request, sent: await sentRequest() };
  writeFileSync(join(folder, 'client.json'), goldenJson(expectation));
}
