import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { EngineProxy } from '../../stress/chaos/proxy.ts';
import { until } from '../../support/until.ts';

describe('the proxy before an engine', () => {
  it('passes everything on, and while it hangs swallows the requests that make containers', async () => {
    const asked: string[] = [];
    const engine = createServer((request, response) => {
      asked.push(`${request.method} ${request.url}`);
      response.end('OK');
    }).listen(0, '127.0.0.1');
    await once(engine, 'listening');
    const proxy = await EngineProxy.to('127.0.0.1', (engine.address() as AddressInfo).port);
    const base = proxy.endpoint.replace('tcp', 'http');
    const create = () => fetch(`${base}/v1.41/containers/create?name=a`, { method: 'POST', body: '{}' });
    try {
      assert.equal((await create()).status, 200);
      proxy.hang();
      const swallowed = create();
      swallowed.catch(() => undefined);
      await until(() => proxy.swallowed === 1);
      assert.equal(await (await fetch(`${base}/_ping`)).text(), 'OK');
      proxy.release();
      await assert.rejects(swallowed, TypeError);
      assert.equal((await create()).status, 200);
      assert.deepEqual(asked, ['POST /v1.41/containers/create?name=a', 'GET /_ping', 'POST /v1.41/containers/create?name=a']);
    } finally {
      await proxy[Symbol.asyncDispose]();
      engine.close();
    }
  });

  it('passes on the end of one direction while the other goes on', async () => {
    const engine = createServer().on('connection', (socket) => socket.allowHalfOpen);
    engine.on('upgrade', (_request, socket) => {
      socket.write('HTTP/1.1 101 Switching\r\n\r\n');
      socket.resume().on('end', () => socket.end('the answer'));
    });
    engine.listen(0, '127.0.0.1');
    await once(engine, 'listening');
    const proxy = await EngineProxy.to('127.0.0.1', (engine.address() as AddressInfo).port);
    try {
      const client = connect({ port: Number(new URL(proxy.endpoint.replace('tcp', 'http')).port), host: '127.0.0.1', allowHalfOpen: true });
      client.write('GET /attach HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n');
      let got = '';
      client.on('data', (bytes) => (got += String(bytes)));
      await until(() => got.includes('101'));
      client.end('the question');
      await once(client, 'end');
      assert.match(got, /the answer$/);
    } finally {
      await proxy[Symbol.asyncDispose]();
      engine.close();
    }
  });
});
