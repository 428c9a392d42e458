import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { setImmediate as turn } from 'node:timers/promises';
import fc from 'fast-check';
import { ByteBudget } from '../../src/base/byte-budget.ts';
import { buildApp } from '../../src/http/app.ts';
import type { AppServices } from '../../src/http/services.ts';
import { bodyPace, expectedBytes } from '../../src/http/slow-bodies.ts';
import { ManualClock } from '../support/manual-clock.ts';

const most = 100_000;

describe('a body that comes slowly', () => {
  let clock: ManualClock;
  let app: ReturnType<typeof buildApp>;
  let port: number;
  beforeEach(async () => {
    clock = new ManualClock();
    const hosts = { loopbackOnly: true, names: [] };
    app = buildApp({} as AppServices, {
      bodyLimit: most,
      memory: { bodies: new ByteBudget(most), requests: new ByteBudget(Infinity), answers: new ByteBudget(most) },
      hosts,
      clock,
    });
    await app.listen({ port: 0, host: '127.0.0.1' });
    ({ port } = app.server.address() as AddressInfo);
  });
  afterEach(async () => {
    app.server.closeAllConnections();
    await app.close();
  });

  /** A client that has sent its head and the first byte of its body, once the server has them. */
  async function begun(
    headers: string,
    first = '"',
    type = 'application/json',
  ): Promise<{ client: Socket; server: Socket; answer: Promise<string> }> {
    const connected = once(app.server, 'connection') as Promise<[Socket]>;
    const client = connect(port, '127.0.0.1').on('error', () => undefined);
    let said = '';
    client.on('data', (chunk: Buffer) => (said += chunk.toString()));
    const answer = once(client, 'close').then(() => said);
    const before = clock.waiting;
    client.write(`POST /v1/explain HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: ${type}\r\n${headers}\r\n\r\n${first}`);
    const [server] = await connected;
    while (clock.waiting === before) await turn();
    return { client, server, answer };
  }

  async function sent({ client, server }: { client: Socket; server: Socket }, text: string): Promise<void> {
    const whole = server.bytesRead + text.length;
    client.write(text);
    while (server.bytesRead < whole) await turn();
  }

  const post = async () => {
    const headers = { 'content-type': 'application/json' };
    const response = await fetch(`http://127.0.0.1:${port}/v1/explain`, { method: 'POST', body: `"${'x'.repeat(50_000)}"`, headers });
    await response.arrayBuffer();
    return response.status;
  };

  for (const [what, headers, first, type] of [
    ['of a told length', 'content-length: 90000', '"'],
    ['of a few bytes that could unpack to many', 'content-length: 1000\r\ncontent-encoding: gzip', '\x1f'],
    ['of an untold length', 'transfer-encoding: chunked', '1\r\n"\r\n'],
    ['that is no JSON', 'content-length: 90000', '', 'text/csv'],
  ] as const) {
    it(`${what} is refused with its code, and its room goes to others`, async () => {
      const slow = await begun(headers, first, type);
      assert.equal(await post(), 503, 'it holds the room');
      await clock.pass(bodyPace.graceMs / 1_000);
      assert.equal(await post(), 503, 'it still does');
      await clock.pass(2);
      const answer = await slow.answer;
      assert.match(answer, /^HTTP\/1\.1 408 .*\r\nconnection: close\r\n/s);
      assert.match(answer, /"code":"request\.too_slow".*"retry":true/);
      assert.equal(await post(), 400, 'there is room, and this is read whole');
    });
  }

  it('a byte at a time is no pace', async () => {
    const slow = await begun('content-length: 90000');
    for (let second = 0; second < 12; second += 1) {
      await sent(slow, 'x');
      await clock.pass(1);
    }
    assert.match(await slow.answer, /^HTTP\/1\.1 408 /);
  });

  it('is read whole if it comes steadily', async () => {
    const steady = await begun('content-length: 90000');
    for (let second = 0; second < 89; second += 1) {
      await sent(steady, 'x'.repeat(1_000));
      if (second < 9 || second > 84) await clock.pass(1);
    }
    steady.client.end(`${'x'.repeat(998)}"`);
    assert.match(await steady.answer, /^HTTP\/1\.1 400 .*"request\.invalid"/s);
  });

  it('is not held to be slow for time in which the server itself stood still', async () => {
    const patient = await begun('content-length: 90000');
    await sent(patient, 'x'.repeat(60_000));
    for (let times = 0; times < 3; times += 1) {
      clock.jump(60_000);
      await turn();
    }
    patient.client.end(`${'x'.repeat(29_998)}"`);
    assert.match(await patient.answer, /^HTTP\/1\.1 400 .*"request\.invalid"/s);
  });

  it('is answered once where it is refused for its size already, and nothing is left of it', async () => {
    const large = await begun('transfer-encoding: chunked', '1\r\n"\r\n');
    large.client.write(`${(2 * most).toString(16)}\r\n${'x'.repeat(2 * most)}`);
    assert.match(await large.answer, /^HTTP\/1\.1 413 .*"request\.too_large"/s);
    await clock.pass(3);
    assert.equal(clock.waiting, 0);
    assert.equal(await post(), 400);
  });

  it('leaves no timer if it is injected and refused for its size', async () => {
    const headers = { host: '127.0.0.1', 'content-type': 'application/json', 'transfer-encoding': 'chunked' };
    const { statusCode } = await app.inject({ method: 'POST', url: '/v1/explain', headers, payload: `"${'x'.repeat(2 * most)}"` });
    assert.equal(statusCode, 413);
    await clock.pass(100); // an error that nobody listened for would end the process
  });

  it('leaves no timer behind, answered or gone', async () => {
    const gone = await begun('content-length: 90000');
    gone.client.destroy();
    while (clock.waiting > 0) await turn();
    assert.equal(await post(), 400);
    assert.equal(clock.waiting, 0);
  });

  it('is never one that would be there in time at a steady pace', () => {
    fc.assert(
      fc.property(fc.nat(1024 ** 3), fc.integer({ min: 1, max: bodyPace.wholeMs }), (length, ms) => {
        const steady = Math.max((length * ms) / bodyPace.wholeMs, (bodyPace.slowest * ms) / 1_000);
        assert.ok(expectedBytes(ms, length) <= steady + 1e-6);
        assert.ok(expectedBytes(bodyPace.wholeMs, length) >= length - 1e-3);
      }),
    );
  });
});
