import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type AddressInfo } from 'node:net';
import Fastify from 'fastify';
import { ByteBudget } from '../../src/base/byte-budget.ts';
import { boundBodies } from '../../src/http/body-budget.ts';

describe('a client that leaves before its answer', () => {
  const app = Fastify({ bodyLimit: 1_000 });
  after(async () => {
    app.server.closeAllConnections();
    await app.close();
  });

  it('gives back what its body took, however far its request was', async () => {
    boundBodies(app, { memory: { bodies: new ByteBudget(1_000), requests: new ByteBudget(1_000) }, bodyLimit: 1_000 }, () => false);
    app.setErrorHandler((_error, _request, reply) => reply.code(503).send({}));
    let arrived: () => void = () => undefined;
    let answer: () => void = () => undefined;
    app.post('/slow', async () => {
      const answered = new Promise<void>((resolve) => (answer = resolve));
      arrived();
      await answered;
      return {};
    });
    app.post('/', () => ({}));
    await app.listen({ port: 0, host: '127.0.0.1' });
    const { port } = app.server.address() as AddressInfo;
    const body = JSON.stringify('x'.repeat(600));
    const post = () =>
      fetch(`http://127.0.0.1:${port}/`, { method: 'POST', body, headers: { 'content-type': 'application/json' } }).then(
        ({ status }) => status,
      );
    for (let times = 0; times < 3; times += 1) {
      const read = new Promise<void>((resolve) => (arrived = resolve));
      const gone = once(app.server, 'connection').then(([socket]) => once(socket as NodeJS.EventEmitter, 'close'));
      const client = connect(port, '127.0.0.1');
      client.write(`POST /slow HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`);
      await read;
      assert.equal(await post(), 503, 'while it is held there is no room');
      client.destroy();
      await gone;
      answer();
      await new Promise(setImmediate);
      assert.equal(await post(), 200, 'what it took is free again');
    }
  });
});
