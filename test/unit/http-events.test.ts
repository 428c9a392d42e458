import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { connect } from 'node:net';
import { Client } from '../../src/client/client.ts';
import { api } from '../support/api.ts';
import { until } from '../support/until.ts';

const hi = { image: 'any', command: ['echo', 'hi'] };

async function served(...given: Parameters<typeof api>) {
  const server = await api(...given);
  const url = await server.listen();
  const close = async () => {
    server.app.server.closeAllConnections();
    await server.close();
  };
  return { ...server, url, client: new Client(url), close };
}

describe('the events of a run over HTTP', () => {
  it('tell its way from the queue to its end, and go on after an id', async () => {
    const { client, driver, close } = await served(['a']);
    const { id } = await client.submit({ ...hi, command: ['hold'] });
    await until(() => driver('a').holding === 1);
    const first = await client.runEvents(id);
    assert.deepEqual(
      first.events.map(({ type }) => type).filter((type) => type !== 'stdout'),
      ['queued', 'placed', 'attempt'],
    );
    const next = client.runEvents(id, { after: first.next, wait: 30 });
    driver('a').letGo();
    assert.ok((await next).events.length > 0);
    let types: string[] = [];
    for (let after = first.next; !types.includes('ended');) {
      const page = await client.runEvents(id, { after, wait: 30 });
      types = [...types, ...page.events.map(({ type }) => type)];
      after = page.next;
    }
    assert.equal(types.at(-1), 'ended');
    const one = await client.runEvents(id, { limit: 1 });
    assert.equal(one.events.length, 1);
    await close();
  });

  it('bring live output to Client.run, once', async () => {
    const { client, driver, close } = await served(['a']);
    const printed: string[] = [];
    const run = client.run({ ...hi, command: ['hold'] }, { onOutput: (_step, _stream, bytes) => void printed.push(bytes.toString()) });
    await until(() => driver('a').holding === 1);
    driver('a').letGo();
    const { steps } = await run;
    assert.equal(printed.join(''), steps[0]?.stdout.toString());
    await close();
  });

  it('are refused for an unknown run and for an id that is none', async () => {
    const { ask, close } = await served(['a']);
    const unknown = randomUUID();
    assert.equal((await ask('GET', `/v1/runs/${unknown}/events`)).body.error?.code, 'run.unknown');
    assert.equal((await ask('GET', `/v1/runs/${unknown}/events?wait=1`)).body.error?.code, 'run.unknown');
    for (const query of ['after=7', 'after=1.2.3', 'after=-1.0', 'limit=0', 'limit=5000', 'wait=601', 'wait=x'])
      assert.equal((await ask('GET', `/v1/runs/${unknown}/events?${query}`)).status, 400, query);
    await close();
  });

  it('leave no waiter when the client goes away', async () => {
    const { client, driver, service, url, close } = await served(['a']);
    const { id } = await client.submit({ ...hi, command: ['hold'] });
    await until(() => driver('a').holding === 1);
    const { next } = await client.runEvents(id);
    for (const path of [`/v1/runs/${id}/events?after=${next}&wait=600`, `/v1/runs/${id}?wait=600`]) {
      const sockets = Array.from({ length: 20 }, () => {
        const socket = connect(Number(new URL(url).port), '127.0.0.1').on('error', () => undefined);
        socket.write(`GET ${path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n`);
        return socket;
      });
      await until(() => service.waiters === 20);
      for (const socket of sockets) socket.destroy();
      await until(() => service.waiters === 0);
    }
    driver('a').letGo();
    await close();
  });
});

describe('waits while katafleet stops', () => {
  it('last until it ends, and are told to come back then', async () => {
    const { client, driver, service, state, ask, close } = await served(['a'], {
      settings: { a: { reserve: { bytes: 7680 * 1024 ** 2 } } },
    });
    const running = await client.submit({ ...hi, command: ['hold'] });
    await until(() => driver('a').holding === 1);
    const waiting = await client.submit({ ...hi, profile: { memory: 512 * 1024 ** 2 } });
    const answers: { status: number; after: unknown; code: string | undefined }[] = [];
    const paths = [`${running.id}?wait=60`, `${waiting.id}?wait=60`, `${waiting.id}/events?after=0.9&wait=60`];
    const asked = paths.map(async (path) => {
      const { status, headers, body } = await ask('GET', `/v1/runs/${path}`);
      answers.push({ status, after: headers['retry-after'], code: body.error?.code });
    });
    await until(() => service.waiters === paths.length);
    state.stopping = true;
    service.stop();
    for (let turn = 0; turn < 50; turn += 1) await new Promise(setImmediate);
    assert.equal(service.waiters, paths.length, 'no client is sent away to ask again at once');
    service.release();
    await Promise.all(asked);
    for (const answer of answers) assert.deepEqual(answer, { status: 503, after: '2', code: 'service.stopping' });
    assert.equal((await ask('GET', `/v1/runs/${waiting.id}`)).status, 200, 'a look does not wait');
    const refused = await ask('POST', '/v1/runs', { payload: hi });
    assert.deepEqual([refused.status, refused.headers['retry-after']], [503, '2']);
    driver('a').letGo();
    await close();
  });
});
