import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect } from 'node:net';
import { buildApp } from '../../src/http/app.ts';
import type { AppServices } from '../../src/http/services.ts';
import type { Hosts } from '../../src/http/hosts.ts';

interface Answer {
  live?: boolean;
  error?: { code: string; message: string; hint?: string };
}

const open: Hosts = { loopbackOnly: false, names: ['runner.example', 'stack_katafleet', 'tasks.katafleet'] };
const local: Hosts = { ...open, loopbackOnly: true };

const app = (hosts: Hosts) => buildApp({} as AppServices, { bodyLimit: 10_000, hosts });

async function ask(hosts: Hosts, host: string, more: Record<string, string> = {}) {
  const response = await app(hosts).inject({ url: '/health/live', headers: { host, ...more } });
  return { status: response.statusCode, ...response.json<Answer>() };
}

/** The status and body that a server answers to these bytes with. */
async function send(hosts: Hosts, request: string): Promise<{ status: number; body: string }> {
  const server = app(hosts);
  await server.listen({ host: '127.0.0.1', port: 0 });
  const socket = connect((server.server.address() as AddressInfo).port, '127.0.0.1');
  try {
    socket.write(request);
    let said = '';
    for await (const bytes of socket) {
      said += String(bytes);
      if (said.endsWith('}')) break;
    }
    return { status: Number(said.split(' ')[1]), body: said.slice(said.indexOf('\r\n\r\n') + 4) };
  } finally {
    socket.destroy();
    const closed = once(server.server, 'close');
    await server.close();
    await closed;
  }
}

describe('API: by which names it is asked', () => {
  it('admits addresses, localhost and its own names, whatever their case, port and dot at the end', async () => {
    const admitted = [
      '10.0.0.7',
      '10.0.0.7:7420',
      '127.0.0.1',
      '[::1]:7420',
      '[fe80::2]',
      '[::ffff:10.0.0.7]:80',
      'localhost',
      'LOCALHOST:1',
    ];
    const named = ['runner.example', 'Runner.EXAMPLE:443', 'runner.example.:7420', 'stack_katafleet:7420', 'tasks.katafleet'];
    for (const host of [...admitted, ...named]) assert.equal((await ask(open, host)).status, 200, host);
  });

  it('refuses every other name: a page may have pointed it here', async () => {
    const names = [
      'evil.example',
      'evil.example:7420',
      'runner.example.evil.example',
      'x.runner.example',
      'runner',
      'localhost.evil.example',
    ];
    const alike = [
      '10.0.0.7.evil.example',
      '10.0.0.7.',
      '0x7f.1',
      '2130706433',
      '127.1',
      'evil.localhost',
      'rünner.example',
      'runner.example..',
    ];
    for (const host of [...names, ...alike]) assert.equal((await ask(open, host)).status, 403, host);
  });

  it('refuses what names no host', async () => {
    const none = [':7420', '.', '::1', '[10.0.0.7]', '[runner.example]', '[::1', 'runner.example:x', 'runner.example:123456'];
    const tricks = ['a@runner.example', 'runner.example/..', 'runner.example#', 'runner.example, evil.example', 'a runner.example'];
    for (const host of [...none, ...tricks]) assert.equal((await ask(open, host)).status, 403, host);
  });

  it('admits loopback addresses and its own names only where it is reached on loopback', async () => {
    for (const host of ['localhost:7420', '127.1.2.3', '[::1]', 'runner.example']) assert.equal((await ask(local, host)).status, 200, host);
    for (const host of ['10.0.0.7', '[::2]', '[::ffff:127.0.0.1]', 'evil.example'])
      assert.equal((await ask(local, host)).status, 403, host);
  });

  it('says by which name it was asked, and where its names are configured', async () => {
    const { error } = await ask(open, 'Evil.example:7420');
    assert.equal(error?.code, 'request.forbidden');
    assert.match(error.message, /server\.names only, not to "Evil\.example:7420"$/);
    assert.match(error.hint ?? '', /server\.names/);
    const long = await ask(open, 'x'.repeat(5_000));
    assert.ok((long.error?.message.length ?? 0) < 400);
    assert.match((await ask(open, 'evil.example\u009b31m')).error?.message ?? '', /evil/);
  });

  it('turns pages of other sites away by whichever of its names they ask', async () => {
    for (const origin of ['http://evil.example', 'http://localhost:7420', 'null'])
      assert.equal((await ask(open, 'runner.example:7420', { origin })).status, 403, origin);
    assert.equal((await ask(open, 'runner.example:7420', { origin: 'http://runner.example:7420' })).status, 200);
    // A rebound page's own origin and Host agree.
    assert.equal((await ask(open, 'evil.example:7420', { origin: 'http://evil.example:7420' })).status, 403);
  });

  it('believes no other header that names a host', async () => {
    const more = { 'x-forwarded-host': 'runner.example', forwarded: 'host=runner.example', ':authority': 'runner.example' };
    assert.equal((await ask(open, 'evil.example', more)).status, 403);
  });

  it('refuses before it reads the body, whatever the path is', async () => {
    const body = 'POST /v1/runs HTTP/1.1\r\nHost: evil.example\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n{';
    assert.deepEqual((await send(open, body)).status, 403);
    for (const path of ['/nowhere', '/katas/kata/avatar.git/info/refs'])
      assert.equal((await send(open, `GET ${path} HTTP/1.1\r\nHost: evil.example\r\n\r\n`)).status, 403, path);
  });

  it('refuses an empty Host', async () => {
    assert.equal((await send(open, 'GET /health/live HTTP/1.1\r\nHost:\r\n\r\n')).status, 403);
  });

  it('answers what sends no Host, as HTTP/1.0 may, but not a page', async () => {
    assert.deepEqual(await send(open, 'GET /health/live HTTP/1.0\r\n\r\n'), { status: 200, body: '{"live":true}' });
    assert.equal((await send(open, 'GET /health/live HTTP/1.0\r\nOrigin: http://evil.example\r\n\r\n')).status, 403);
  });

  it('refuses two Hosts, whichever is first', async () => {
    for (const [one, other] of [
      ['runner.example', 'evil.example'],
      ['evil.example', 'runner.example'],
      ['runner.example', 'runner.example'],
    ] as const) {
      const { status, body } = await send(open, `GET /health/live HTTP/1.1\r\nHost: ${one}\r\nhOST: ${other}\r\n\r\n`);
      assert.deepEqual([status, /expected one Host header, got 2/.test(body)], [400, true], body);
    }
  });
});
