import assert from 'node:assert/strict';
import { randomBytes, randomUUID } from 'node:crypto';
import { connect } from 'node:net';
import fc from 'fast-check';
import { Client } from '../../src/client/client.ts';
import { pathIn, routedUrl } from '../../src/http/file-url.ts';
import { rangeOf } from '../../src/http/range.ts';
import { decodePath, encodePath } from '../../src/model/paths.ts';
import { api } from '../support/api.ts';
import { placed, runOf } from '../support/fake-service.ts';
import { created, result } from '../support/katas.ts';
import { until } from '../support/until.ts';

const large = randomBytes(3 * 1024 ** 2 + 7);
const odd = decodePath(Buffer.from([0x66, 0xff, 0x2f, 0x80]));
const names = ['plain.txt', 'a b/c%41?d#e', 'größe/😀', odd, '<script>.html', 'x/%2e%2e/y'];

const unread = randomUUID();

/** The API with a run in its journal that gave back files of many names, and a large one. */
async function withFiles(options: Parameters<typeof api>[1] = {}) {
  const server = await api(['a'], options);
  const id = randomUUID();
  const { journal } = server;
  await journal.accept({ id, tenant: 't', request: runOf(['x']), placing: placed(), at: 1 });
  await journal.begin(id, 1, { node: 'a' }, 1);
  const files = [...names.map((name) => created(name, `bytes of ${name.length}`)), created('large', large), created('empty', '')];
  assert.ok(await journal.finish(id, 1, result({ files }), 2));
  const url = await server.listen();
  const get = (path: string, headers: Record<string, string> = {}) => fetch(`${url}/v1/runs/${id}/files/${path}`, { headers });
  return { ...server, id, get, url };
}

const bytesOf = async (response: Response) => Buffer.from(await response.arrayBuffer());

describe('a file of a result over HTTP', () => {
  it('comes as it was, whatever its name is', async () => {
    const { close, url, id } = await withFiles();
    const client = new Client(url);
    for (const name of names) assert.equal((await client.file(id, name)).toString(), `bytes of ${name.length}`, JSON.stringify(name));
    assert.ok((await client.file(id, 'large')).equals(large));
    assert.equal((await client.file(id, 'empty')).length, 0);
    assert.ok((await client.file(id, 'large', { from: 1_048_570, to: 2_500_000 })).equals(large.subarray(1_048_570, 2_500_000)));
    await assert.rejects(client.file(id, 'absent'), { code: 'request.unknown' });
    await assert.rejects(client.file(randomUUID(), 'plain.txt'), { code: 'run.unknown' });
    const wrong = await fetch(`${url}/v1/runs/${id}/files/a%20b`, { method: 'POST' });
    assert.match(await wrong.text(), /there is no POST [^ ]*\/files\/a%20b"/);
    await close();
  });

  it('is never taken for a page of the server, whatever is in it', async () => {
    const { get, close } = await withFiles();
    const { headers, status } = await get('%3Cscript%3E.html');
    assert.equal(status, 200);
    const expected = {
      'content-type': 'application/octet-stream',
      'x-content-type-options': 'nosniff',
      'content-disposition': 'attachment',
      'content-security-policy': "default-src 'none'; sandbox",
      'accept-ranges': 'bytes',
    };
    for (const [name, value] of Object.entries(expected)) assert.equal(headers.get(name), value);
    await close();
  });

  it('comes in parts: 206, 416, and all of it for what is no single range', async () => {
    const { get, id, close } = await withFiles();
    const part = async (range: string, more: Record<string, string> = {}) => {
      const response = await get('large', { range, ...more });
      return { status: response.status, range: response.headers.get('content-range'), bytes: await bytesOf(response) };
    };
    const size = large.length;
    const last = await part('bytes=-5');
    assert.deepEqual([last.status, last.range], [206, `bytes ${size - 5}-${size - 1}/${size}`]);
    assert.ok(last.bytes.equals(large.subarray(-5)));
    const middle = await part('bytes=1000000-2000000');
    assert.deepEqual([middle.status, middle.bytes.length], [206, 1_000_001]);
    assert.ok(middle.bytes.equals(large.subarray(1_000_000, 2_000_001)));
    const beyond = await part(`bytes=${size}-`);
    assert.deepEqual([beyond.status, beyond.range], [416, `bytes */${size}`]);
    assert.match(beyond.bytes.toString(), /request\.range/);
    for (const all of ['bytes=0-1,5-6', 'lines=1-2', 'bytes=9-1', 'bytes=-', 'nonsense']) {
      const whole = await part(all);
      assert.deepEqual([whole.status, whole.bytes.length], [200, size], all);
    }
    assert.equal((await part('bytes=0-1', { 'if-range': '"another"' })).status, 200);
    assert.equal((await part('bytes=0-1', { 'if-range': `"${id}"` })).status, 206);
    assert.equal((await get('empty', { range: 'bytes=0-' })).status, 416);
    await close();
  });

  it('gives back its room when the client has gone, and keeps nothing open', async () => {
    const { url, id, app, close } = await withFiles();
    const socket = connect(Number(new URL(url).port), '127.0.0.1');
    socket.write(`GET /v1/runs/${id}/files/large HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n`);
    await new Promise((resolve) => socket.once('data', resolve));
    socket.destroy();
    await until(() => new Promise<boolean>((resolve) => app.server.getConnections((_error, count) => resolve(count === 0))));
    await close();
  });

  it('does not keep the server from closing if its client reads nothing', async () => {
    const { url, journal, close, app } = await withFiles({ leaveMs: 50 });
    await journal.accept({ id: unread, tenant: 't', request: runOf(['x']), placing: placed(), at: 3 });
    await journal.begin(unread, 1, { node: 'a' }, 3);
    assert.ok(await journal.finish(unread, 1, result({ files: [created('huge', Buffer.alloc(48 * 1024 ** 2))] }), 4));
    const socket = connect(Number(new URL(url).port), '127.0.0.1').on('error', () => undefined);
    socket.write(`GET /v1/runs/${unread}/files/huge HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n`);
    await new Promise((resolve) => socket.once('readable', resolve));
    await app.close();
    socket.destroy();
    await close();
  });

  it('has a URL for every name that a file can have', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 40 }), (bytes) => {
        const name = decodePath(bytes);
        const encoded = Array.from(encodePath(name), (byte) => `%${byte.toString(16).padStart(2, '0')}`).join('');
        const routed = routedUrl(`/v1/runs/id/files/${encoded}?query`);
        const word = /^\/v1\/runs\/id\/files\/([\w-]*)\?query$/.exec(routed)?.[1] ?? assert.fail(routed);
        assert.equal(pathIn(word), name);
      }),
    );
    for (const other of ['/v1/runs/id', '/v1/runs', '/v1/nodes/files/x', '/']) assert.equal(routedUrl(other), other);
  });
});

describe('a Range header', () => {
  it('never leads outside of what there is', () => {
    const header = fc.oneof(
      fc.string(),
      fc.tuple(fc.nat(30), fc.nat(30)).map(([a, b]) => `bytes=${a}-${b}`),
      fc.nat(30).map((n) => `bytes=-${n}`),
    );
    fc.assert(
      fc.property(header, fc.nat(20), (said, size) => {
        const range = rangeOf(said, size);
        if (range !== undefined && range !== 'none') assert.ok(0 <= range.from && range.from < range.to && range.to <= size);
      }),
    );
  });
});
