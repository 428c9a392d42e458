import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import http from 'node:http';
import https from 'node:https';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { totalmem, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { NodeVerdict } from '../../src/model/verdict.ts';
import { labels } from '../../src/model/labels.ts';
import { EngineDriver } from '../../src/drivers/engine/driver.ts';
import { Store } from '../../src/store/store.ts';
import { command } from '../support/command.ts';
import { certificates } from '../support/certificates.ts';
import { endpoint } from '../support/fleet.ts';
import { until } from '../support/until.ts';
import { ApiError, type RunAnswer, Service } from '../support/service.ts';

const project = fileURLToPath(new URL('../../', import.meta.url));
const MiB = 1024 ** 2;
/** Room for one run at a time: the second waits. */
const [room, limit] = [300 * MiB, 200 * MiB];
const good = { name: 'good', endpoint, labels: { zone: 'a' }, memory: { reserve: totalmem() - room } };
const sh = (script: string, more: object = {}) => ({ image: 'build-essential', command: ['bash', '-c', script], ...more });
const refused = (status: number, about: RegExp) => (error: unknown) =>
  error instanceof ApiError && error.status === status && about.test(error.message);

/** The command line. */
function katafleet(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    execFile(command[0], [...command.slice(1), ...args], { cwd: project }, (error, stdout, stderr) =>
      resolve({ code: error ? Number(error.code) : 0, stdout, stderr }),
    );
  });
}

describe('katafleet serve, on a real engine', () => {
  let service: Service;
  before(async function () {
    this.timeout(120_000);
    service = await Service.start({ nodes: [good], profiles: { default: { memory: limit } }, schedules: { reap: 'off' } });
    await until(async () => (await service.nodes())['good']?.state === 'ready');
  });
  after(async function () {
    this.timeout(120_000);
    await service[Symbol.asyncDispose]();
  });

  it('runs what it is asked to and keeps the result', async () => {
    const files = { 'in.txt': 'größer\n', 'sub/other': '2' };
    const run = await service.run(
      sh('cat in.txt; echo err >&2; printf "\\xff\\x00" > made; echo x >> in.txt; rm sub/other; exit 3', { files }),
    );
    assert.deepEqual([run.state, run.result?.outcome, run.attempts.length], ['finished', { kind: 'exited', code: 3 }, 1]);
    assert.deepEqual([run.result?.steps[0]?.stdout, run.result?.steps[0]?.stderr], ['größer\n', 'err\n']);
    const back = run.result?.changes as unknown as {
      files: { path: string; change: string; content: string; encoding: string }[];
      deleted: string[];
    };
    assert.deepEqual(back.files.map(({ path, change, content, encoding }) => [path, change, content, encoding]).sort(), [
      ['in.txt', 'changed', 'größer\nx\n', 'utf8'],
      ['made', 'created', '/wA=', 'base64'],
    ]);
    assert.deepEqual(back.deleted, ['sub/other']);
    assert.deepEqual(await service.call('GET', `/v1/runs/${run.id}`), run);
    const { runs } = await service.call<{ runs: { id: string }[] }>('GET', '/v1/runs?state=finished');
    assert.equal(runs[0]?.id, run.id);
  });

  it('the same key is the same run', async () => {
    const [first, again] = [await service.run(sh('echo $RANDOM'), 'key'), await service.run(sh('echo $RANDOM'), 'key')];
    assert.deepEqual(again, first);
    await assert.rejects(service.run(sh('echo other'), 'key'), refused(409, /request\.conflict/));
  });

  it('offers images that can run now, and tells where a run would go and why', async () => {
    const { images } = await service.call<{ images: { name: string; ready: string[]; obtainable: string[] }[] }>('GET', '/v1/images');
    const image = images.find(({ name }) => name === 'katafleet/build-essential:latest');
    assert.deepEqual([image?.ready, image?.obtainable], [['good'], []]);
    const explain = async (more: object) => (await service.call<{ nodes: NodeVerdict[] }>('POST', '/v1/explain', sh('', more))).nodes[0];
    // The memory of the run before comes back when its sandbox is gone.
    await until(async () => (await explain({ constraints: ['zone==a'] }))?.kind === 'passes');
    const over = await explain({ constraints: ['zone==b'], profile: { memory: 400 * MiB } });
    const reasons = over?.kind === 'passed_over' ? over.reasons.map(({ code }) => code) : [];
    assert.deepEqual(reasons, ['labels', 'memory_total']);
    await assert.rejects(service.run(sh('', { constraints: ['zone==b'] })), refused(422, /zone==b wanted, its label is/));
    await assert.rejects(service.run({ ...sh(''), image: 'nope' }), refused(404, /image\.unknown/));
  });

  it('cordon and drain hold back what is new; what waits goes on after uncordon', async () => {
    const cordoned = await katafleet('--server', service.url, 'drain', 'good', '--wait', '30s');
    assert.match(cordoned.stdout, /^good: ready, drained, 0 running, 0 idle/, cordoned.stderr);
    const run = await service.call<RunAnswer>('POST', '/v1/runs', sh('echo at last'));
    assert.equal(run.state, 'waiting');
    const why = await katafleet('--server', service.url, 'explain', run.id);
    assert.match(why.stdout, /waiting, 1 in the queue[^]*good +passed over +it is draining/);
    assert.equal((await katafleet('--server', service.url, 'uncordon', 'good')).code, 0);
    assert.equal((await service.ended(run)).result?.steps[0]?.stdout, 'at last\n');
  });

  it('the command line shows nodes, images, maintenance, and does a job at once', async () => {
    const nodes = await katafleet('--server', service.url, 'nodes', '--wide');
    assert.match(nodes.stdout, /^NODE +STATE[^]*\ngood +ready +engine .*zone=a/);
    assert.match((await katafleet('--server', service.url, 'images')).stdout, /katafleet\/build-essential:latest .* good/);
    const reap = await katafleet('--server', service.url, 'maintenance', 'run', 'inventory');
    assert.match(reap.stdout, /^inventory: \d+ images on 1 nodes/);
    assert.match((await katafleet('--server', service.url, 'maintenance')).stdout, /inventory +\S.*done +(now|\d+ s ago) /);
    const unknown = await katafleet('--server', service.url, 'maintenance', 'run', 'nonsense');
    assert.deepEqual([unknown.code, /there are: inventory, reap/.test(unknown.stderr)], [64, true]);
  });

  it('a second katafleet on the same journal or the same port is refused in words', async () => {
    const journal = await katafleet('--host', endpoint, 'serve', '--listen', '127.0.0.1:0', '--journal', service.journal);
    assert.deepEqual([journal.code, /used by another katafleet/.test(journal.stderr)], [75, true], journal.stderr);
    const folder = await mkdtemp(join(tmpdir(), 'katafleet-serve-'));
    const port = await katafleet('serve', '--listen', new URL(service.url).host, '--journal', join(folder, 'j.db'));
    assert.deepEqual([port.code, /can't listen on/.test(port.stderr)], [71, true], port.stderr);
    await rm(folder, { recursive: true });
  });
});

describe('katafleet serve ends and begins again', () => {
  async function serving(): Promise<Service> {
    const service = await Service.start({ nodes: [good], profiles: { default: { memory: limit, wallMs: '60s' } } });
    await until(async () => (await service.nodes())['good']?.state === 'ready');
    return service;
  }
  const running = (service: Service, run: RunAnswer) => async () =>
    (await service.call<RunAnswer>('GET', `/v1/runs/${run.id}`)).state === 'running';

  /** Sandboxes of a service that has ended. */
  async function leftOver(service: Service): Promise<number> {
    await using journal = await Store.open(service.journal, { thread: false });
    const driver = new EngineDriver({ endpoint });
    const mine = (await driver.list()).filter((container) => container.labels[labels.fleet] === journal.identity);
    driver.close();
    return mine.length;
  }

  it('SIGTERM lets the run under way end, keeps what waits, and the next start runs it', async function () {
    this.timeout(180_000);
    await using service = await serving();
    const first = await service.call<RunAnswer>('POST', '/v1/runs', sh('echo begun; sleep 2; echo done'));
    await until(running(service, first));
    const second = await service.call<RunAnswer>('POST', '/v1/runs', sh('echo later'), { 'idempotency-key': 'k' });
    assert.equal(second.state, 'waiting');
    assert.equal(await service.stop(), 0, service.log);
    assert.equal(await leftOver(service), 0);
    await service.start();
    const ended = await service.ended(first);
    assert.deepEqual([ended.state, ended.attempts.length, ended.result?.steps[0]?.stdout], ['finished', 1, 'begun\ndone\n']);
    const same = await service.run(sh('echo later'), 'k');
    assert.deepEqual([same.id, same.state, same.attempts.length, same.result?.steps[0]?.stdout], [second.id, 'finished', 1, 'later\n']);
    await service.stop();
    assert.equal(await leftOver(service), 0);
  });

  it('a run that has not ended within server.grace stays in the journal and runs again after the next start', async function () {
    this.timeout(180_000);
    const profiles = { default: { memory: limit, wallMs: '60s' } };
    await using service = await Service.start({ nodes: [good], profiles, server: { listen: '127.0.0.1:0', grace: '200ms' } });
    await until(async () => (await service.nodes())['good']?.state === 'ready');
    const run = await service.call<RunAnswer>('POST', '/v1/runs', sh('echo begun; sleep 15; echo done'));
    await until(running(service, run));
    assert.equal(await service.stop(), 0, service.log);
    assert.equal(await leftOver(service), 0);
    await service.start();
    const ended = await service.ended(run);
    assert.deepEqual([ended.state, ended.attempts.length, ended.result?.steps[0]?.stdout], ['finished', 2, 'begun\ndone\n']);
  });

  it('kill -9: the run under way is done anew, once, and nothing is left of the first', async function () {
    this.timeout(180_000);
    await using service = await serving();
    const run = await service.call<RunAnswer>('POST', '/v1/runs', sh('sleep 1; echo done'));
    await until(running(service, run));
    await service.kill();
    await service.start();
    const ended = await service.ended(run);
    // The start leaves out a number, in case an attempt had begun of which the journal does not know.
    assert.deepEqual(
      ended.attempts.map(({ number, state }) => [number, state]),
      [
        [1, 'lost'],
        [3, 'accepted'],
      ],
    );
    assert.deepEqual([ended.result?.attempt, ended.result?.steps[0]?.stdout], [3, 'done\n']);
    await service.stop();
    assert.equal(await leftOver(service), 0);
  });
});

describe('bad nodes beside a good one', () => {
  let folder: string;
  let service: Service;
  const servers: (Server | http.Server)[] = [];
  const sockets = new Set<Socket>();

  async function listening(server: Server | http.Server): Promise<string> {
    server.on('connection', (socket: Socket) => {
      sockets.add(socket);
      socket.on('error', () => undefined);
      socket.once('close', () => sockets.delete(socket));
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    servers.push(server);
    return `tcp://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  before(async function () {
    this.timeout(120_000);
    folder = await mkdtemp(join(tmpdir(), 'katafleet-bad-'));
    await certificates(join(folder, 'expired'), { expired: true });
    const pem = (name: string) => readFile(join(folder, 'expired', name));
    const tls = { cert: await pem('server.pem'), key: await pem('server-key.pem') };
    const gone = await listening(createServer());
    servers.pop()?.close();
    const answer: http.RequestListener = (_request, response) => void response.end('<html>welcome</html>');
    const nodes = [
      { name: 'down', endpoint: gone },
      { name: 'hangs', endpoint: await listening(createServer()) },
      { name: 'nonsense', endpoint: await listening(createServer((socket) => socket.write('SSH-2.0-OpenSSH_9.2\r\n'))) },
      { name: 'website', endpoint: await listening(http.createServer(answer)) },
      { name: 'expired', endpoint: await listening(https.createServer(tls, answer)), tls: join(folder, 'expired') },
      { name: 'nosocket', endpoint: `unix://${folder}/none.sock` },
      good,
    ];
    service = await Service.start({ nodes, profiles: { default: { memory: limit } }, health: { timeout: '500ms', interval: '500ms' } });
  });
  after(async function () {
    this.timeout(120_000);
    await service[Symbol.asyncDispose]();
    for (const server of servers) server.close();
    for (const socket of sockets) socket.destroy();
    await rm(folder, { recursive: true });
  });

  it('no bad node blocks the others: a run is served', async () => {
    const run = await service.run(sh('echo fine'));
    assert.deepEqual([run.state, run.result?.node, run.result?.steps[0]?.stdout], ['finished', 'good', 'fine\n']);
  });

  it('each is shown with clear words of its own', async () => {
    await until(async () => !Object.values(await service.nodes()).some(({ state }) => state === 'probing'));
    const { code, stdout } = await katafleet('--server', service.url, 'nodes');
    const line = (name: string) => stdout.split('\n').find((text) => text.startsWith(`${name} `)) ?? '';
    assert.equal(code, 0, 'one is ready');
    assert.match(line('good'), /^good +ready +engine /);
    assert.match(line('down'), /^down +down .*no engine answers at tcp:\/\/127\.0\.0\.1:\d+ \(connect ECONNREFUSED/);
    assert.match(line('hangs'), /^hangs +down .*takes the call and does not answer within 1000 ms/);
    assert.match(line('nonsense'), /^nonsense +down .*is not a Docker engine: it does not speak HTTP/);
    assert.match(line('website'), /^website +down .*is not a Docker engine: it reports no API version/);
    assert.match(line('expired'), /^expired +down .*the certificate of tcp:\/\/127\.0\.0\.1:\d+ has expired/);
    assert.match(line('nosocket'), /^nosocket +down .*no engine answers at unix:/);
    assert.ok(!/\n\s+at |undefined|\[object/.test(stdout), stdout);
  });

  it('without a server the command line asks them itself, and says the same', async () => {
    const { code, stdout, stderr } = await katafleet('--config', service.config, 'nodes');
    assert.equal(code, 0, stderr);
    assert.match(stdout, /\ngood +ready[^]*/);
    assert.match(stdout, /hangs +down .*does not answer within/);
  });

  it('a run for a bad node alone waits, and says why', async () => {
    const run = await service.call<RunAnswer>('POST', '/v1/runs?wait=1', sh('echo', { constraints: ['zone!=a'], queueMs: 500 }));
    const ended = await service.ended(run);
    assert.deepEqual([ended.state, ended.error?.code], ['failed', 'queue.deadline']);
    assert.match(ended.error?.message ?? '', /expired: it is down: the certificate/);
  });
});
