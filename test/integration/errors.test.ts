import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Katafleet, KatafleetError } from '../../src/app/library.ts';
import { endpoint, sh, testFleet } from '../support/fleet.ts';

const main = fileURLToPath(new URL('../../dist/main.js', import.meta.url));
const code =
  (expected: string, about = /./) =>
  (error: unknown) =>
    error instanceof KatafleetError && error.code === expected && about.test(error.message);

interface Ended {
  code: number;
  stdout: string;
  stderr: string;
}

function katafleet(...args: string[]): Promise<Ended> {
  return new Promise((resolve) => {
    execFile(process.execPath, [main, ...args], (error, stdout, stderr) =>
      resolve({ code: error ? Number(error.code) : 0, stdout, stderr }),
    );
  });
}

/** An engine that answers as told, on a socket of its own. */
async function fakeEngine(answers: Record<string, [status: number, body: object]>): Promise<AsyncDisposable & { at: string }> {
  const folder = await mkdtemp(join(tmpdir(), 'katafleet-engine-'));
  const server = http.createServer((request, response) => {
    const path = (request.url ?? '').replace(/^\/v1\.\d+/, '').replace(/\?.*/, '');
    const [status, body] = answers[path] ?? [404, { message: `no such path ${path}` }];
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  });
  server.listen(join(folder, 'sock'));
  await once(server, 'listening');
  return {
    at: `unix://${folder}/sock`,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      server.close();
      await rm(folder, { recursive: true });
    },
  };
}

const modern = {
  '/_ping': [200, {}],
  '/version': [200, { Version: '20.10', ApiVersion: '1.41', MinAPIVersion: '1.12' }],
  '/info': [200, { Name: 'n', Architecture: 'x86_64', MemoryLimit: true, NCPU: 2, MemTotal: 1e10 }],
  '/containers/json': [200, []],
  '/images/json': [200, [{ Id: 'sha256:1', RepoTags: ['x:latest'], Size: 1 }]],
} satisfies Record<string, [number, object]>;

describe('errors say whose fault it is', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'katafleet-errors-'));
    await chmod(folder, 0o755);
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));

  it('an unknown image, without asking a registry', async () => {
    await using fleet = testFleet();
    await assert.rejects(
      fleet.run({ image: 'no-such-image', files: [], steps: [{ argv: ['true'] }] }),
      code('image.unknown', /no-such-image/),
    );
  });

  it('limits that make no sense, or that the node doesn’t have', async () => {
    await using fleet = testFleet();
    await assert.rejects(sh(fleet, '', { profile: { memory: -1 } }), code('limits.invalid', /memory/));
    await assert.rejects(sh(fleet, '', { profile: { memory: 1000 * 1024 ** 3 } }), code('limits.invalid', /memory: 1000 GiB asked for/));
    await assert.rejects(sh(fleet, '', { profile: { cpus: 1000 } }), code('limits.invalid', /cpus/));
    await assert.rejects(fleet.run({ image: 'build-essential', files: [], steps: [] }), code('request.invalid'));
    await assert.rejects(
      fleet.run({ image: 'build-essential', files: [], steps: [{ argv: ['x'.repeat(70_000)] }] }),
      code('request.invalid', /64 KiB/),
    );
  });

  it('files that don’t fit, or whose path leads out', async () => {
    await using fleet = testFleet();
    const files = [{ path: 'big', mode: 0o644, mtimeNs: 0n, content: Buffer.alloc(40_000_000) }];
    await assert.rejects(sh(fleet, '', { files, profile: { memory: 64 * 1024 * 1024 } }), code('files.no_space', /big/));
    await assert.rejects(
      sh(fleet, '', { files: [{ path: '../x', mode: 0o644, mtimeNs: 0n, content: Buffer.alloc(0) }] }),
      code('files.path'),
    );
  });

  it('no engine, no permission, an engine that is too old, one without memory limits, a full disk', async () => {
    await using none = new Katafleet({ endpoint: `unix://${folder}/none.sock` });
    await assert.rejects(none.open(), code('engine.unreachable'));
    if (process.getuid?.() === 0 && process.seteuid) {
      process.seteuid(65_534);
      try {
        await using forbidden = new Katafleet({ endpoint });
        await assert.rejects(forbidden.open(), code('engine.permission'));
      } finally {
        process.seteuid(0);
      }
    }
    await using old = await fakeEngine({ '/version': [200, { Version: '1.6.2', ApiVersion: '1.18' }] });
    await using ancient = new Katafleet({ endpoint: old.at });
    await assert.rejects(ancient.open(), code('engine.too_old', /1\.6\.2/));
    await using lax = await fakeEngine({ ...modern, '/info': [200, { Name: 'n', MemoryLimit: false }] });
    await using unlimited = new Katafleet({ endpoint: lax.at });
    await assert.rejects(unlimited.open(), code('engine.limits'));
    const image = { Id: 'sha256:1', Architecture: 'amd64', Config: { Labels: null } };
    await using full = await fakeEngine({
      ...modern,
      '/images/sha256:1/json': [200, image],
      '/containers/create': [500, { message: 'mkdir /var/lib/docker/overlay2/x: no space left on device' }],
    });
    await using stuffed = new Katafleet({ endpoint: full.at });
    await assert.rejects(stuffed.run({ image: 'x', files: [], steps: [{ argv: ['true'] }] }), code('engine.disk_full'));
  });

  it('the command line has a message, a hint and an exit code for each', async () => {
    const at = ['--host', endpoint];
    assert.match((await katafleet(...at, 'run', join(folder, 'none'))).stderr, /no folder .*\[folder\.missing, user\]/);
    assert.equal((await katafleet(...at, 'run', folder)).code, 66);
    await writeFile(join(folder, 'f'), 'x');
    const limits = await katafleet(...at, 'run', folder, '--memory', 'lots', '--', 'true');
    assert.deepEqual([limits.code, /"lots" is not a size/.test(limits.stderr)], [64, true]);
    const unknown = await katafleet(...at, 'run', folder, '--image', 'nope', '--', 'true');
    assert.match(unknown.stderr, /katafleet images build nope/);
    assert.equal((await katafleet('--host', `unix://${folder}/none`, 'run', folder, '--', 'true')).code, 69);
    assert.equal((await katafleet('frobnicate')).code, 64);
    assert.equal((await katafleet('--help')).code, 0);
    assert.equal((await katafleet('--host', `unix://${folder}/none`, 'doctor')).code, 1);
  });
});

describe('katafleet run', () => {
  let folder: string;
  beforeEach(async () => (folder = await mkdtemp(join(tmpdir(), 'katafleet-run-'))));
  afterEach(() => rm(folder, { recursive: true, force: true }));

  it('streams output, exits as the program does, and writes only into --out', async () => {
    await writeFile(join(folder, 'given'), 'x');
    const out = join(folder, 'out');
    const ended = await katafleet(
      '--host',
      endpoint,
      'run',
      folder,
      '--out',
      out,
      '--',
      'sh',
      '-c',
      'echo hello; echo made > made; echo changed > given; exit 3',
    );
    assert.deepEqual([ended.code, ended.stdout], [3, 'hello\n']);
    assert.match(ended.stderr, /exited with 3/);
    assert.equal(await readFile(join(out, 'made'), 'utf8'), 'made\n');
    assert.equal(await readFile(join(folder, 'given'), 'utf8'), 'x');
  });

  it('shows the green light of the kata, as text and as JSON', async () => {
    const kata = fileURLToPath(new URL('../../images/gcc-assert/', import.meta.url));
    for (const name of ['hiker.h', 'hiker.tests.c', 'makefile', 'cyber-dojo.sh', 'manifest.json'])
      await writeFile(join(folder, name), await readFile(join(kata, 'start_point', name)));
    await writeFile(join(folder, 'hiker.c'), await readFile(join(kata, 'cases/green/hiker.c')));
    const text = await katafleet('--host', endpoint, 'run', folder);
    assert.match(text.stderr, /● green/);
    const { code: exit, stdout } = await katafleet('--host', endpoint, 'run', folder, '--json');
    const result = JSON.parse(stdout) as { light: string; outcome: object; steps: { stdout: string }[] };
    assert.deepEqual(
      [exit, result.light, result.outcome, result.steps[0]?.stdout],
      [0, 'green', { kind: 'exited', code: 0 }, './hiker.tests\nAll tests passed\n'.replace('./hiker.tests\n', '')],
    );
  });

  it('times out with 124', async () => {
    await writeFile(join(folder, 'f'), 'x');
    assert.equal((await katafleet('--host', endpoint, 'run', folder, '-t', '200ms', '--', 'sleep', '100')).code, 124);
  });
});
