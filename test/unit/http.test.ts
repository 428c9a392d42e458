import assert from 'node:assert/strict';
import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib';
import { errorKinds, KatafleetError } from '../../src/model/errors.ts';
import type { MaintenanceJob } from '../../src/fleet/upkeep/maintenance.ts';
import { api } from '../support/api.ts';
import { type FakeDriver, fakeMachine } from '../support/fake-driver.ts';
import { MiB } from '../support/fake-fleet.ts';
import { until } from '../support/until.ts';

const one = { settings: { a: { reserve: { bytes: 7680 * MiB } } } }; // room for one run at a time

const asSwarm = (driver: FakeDriver) => driver.asSwarm(fakeMachine('h1'), fakeMachine('h2'));

const hi = { image: 'any', command: ['echo', 'hi'] };

describe('API: runs', () => {
  it('created and waited for in one request', async () => {
    const { ask, close } = await api(['a']);
    const { status, headers, body } = await ask('POST', '/v1/runs?wait=30', { payload: hi });
    assert.deepEqual(
      [status, headers['location'], body.state, body.result?.steps[0]?.stdout],
      [201, `/v1/runs/${body.id}`, 'finished', 'echo hi'],
    );
    await close();
  });

  it('created, looked at, waited for', async () => {
    const { ask, driver, close } = await api(['a'], one);
    const first = await ask('POST', '/v1/runs', { payload: { ...hi, command: ['hold'] } });
    assert.equal(first.status, 202);
    await until(() => driver('a').holding === 1);
    const second = await ask('POST', '/v1/runs', { payload: { ...hi, profile: { memory: 512 * MiB } } });
    assert.deepEqual([second.status, second.body.state, second.body.position], [202, 'waiting', 1]);
    assert.equal((await ask('GET', `/v1/runs/${first.body.id}`)).body.state, 'running');
    const waiting = ask('GET', `/v1/runs/${second.body.id}?wait=30`);
    driver('a').letGo();
    assert.equal((await waiting).body.state, 'finished');
    await close();
  });

  it('a profile in the request is laid over the configured one, not over katafleet’s own', async () => {
    const { ask, driver, service, close } = await api(['a'], one);
    const { body } = await ask('POST', '/v1/runs', { payload: { ...hi, command: ['hold'], profile: { pids: 7 } } });
    await until(() => driver('a').holding === 1);
    const job = service.jobOf(body.id);
    assert.deepEqual([job?.profile.pids, job?.profile.wallMs, job?.profile.memory], [7, 2_000, 64 * MiB]);
    driver('a').letGo();
    await close();
  });

  it('an idempotency key leads to the same run; with another request it is a conflict', async () => {
    const { ask, close } = await api(['a']);
    const keyed = (payload: object, key = 'k') =>
      ask('POST', '/v1/runs?wait=30', { payload, headers: { host: 'localhost', 'idempotency-key': key } });
    const [first, again] = [await keyed(hi), await keyed({ command: ['echo', 'hi'], image: 'any' })];
    assert.deepEqual([first.status, again.status, again.body.id], [201, 200, first.body.id]);
    for (const other of [
      { ...hi, command: ['echo', 'ho'] },
      { ...hi, priority: 1 },
      { ...hi, files: { a: '' } },
    ]) {
      const conflict = await keyed(other);
      assert.deepEqual([conflict.status, conflict.body.error?.code], [409, 'request.conflict']);
    }
    assert.equal((await keyed(hi, 'x'.repeat(256))).body.error?.code, 'request.invalid');
    await close();
  });

  it('cancelled: a run that waits, a run that runs', async () => {
    const { ask, driver, close } = await api(['a'], one);
    const big = { profile: { memory: 512 * MiB } };
    const runs = (await ask('POST', '/v1/runs', { payload: { ...hi, ...big, command: ['hold'] } })).body.id;
    await until(() => driver('a').holding === 1);
    const waits = (await ask('POST', '/v1/runs', { payload: { ...hi, ...big } })).body.id;
    assert.deepEqual((await ask('DELETE', `/v1/runs/${waits}`)).body.state, 'cancelled');
    const ended = await ask('DELETE', `/v1/runs/${runs}`);
    assert.deepEqual([ended.status, ended.body.state, ended.body.result?.outcome], [200, 'finished', { kind: 'cancelled' }]);
    await close();
  });

  it('files that are no text come back in base64, output that is none has its bytes beside it', async () => {
    const { ask, driver, journal, service, close } = await api(['a'], one);
    const { body } = await ask('POST', '/v1/runs', { payload: { ...hi, command: ['hold'] } });
    await until(() => driver('a').holding === 1);
    driver('a').letGo();
    const { result } = await service.wait(body.id, 10_000);
    assert.ok(result);
    const bytes = Buffer.from([0xff, 0xfe, 0x00]);
    const file = (path: string, content: Buffer) => ({
      change: 'created' as const,
      path,
      mode: 0o755,
      mtimeNs: 1_700_000_000_000_000_001n,
      content,
    });
    const steps = result.steps.map((step) => ({ ...step, stdout: bytes }));
    const other = { ...result, steps, changes: { ...result.changes, files: [file('bin', bytes), file('text', Buffer.from('größer'))] } };
    const placing = { tenant: 'default', priority: 5, constraints: [], queueMs: 1 };
    journal.look = async (id) => ({
      id,
      state: 'finished',
      tenant: 't',
      key: undefined,
      image: 'x',
      acceptedAt: 1,
      endedAt: 2,
      attempts: [],
      error: undefined,
      placing,
      result: other,
    });
    const answer = (await ask('GET', `/v1/runs/${body.id}`)).body.result;
    assert.deepEqual(answer?.changes.files, [
      { change: 'created', path: 'bin', mode: 0o755, mtimeNs: '1700000000000000001', content: '//4A', encoding: 'base64' },
      { change: 'created', path: 'text', mode: 0o755, mtimeNs: '1700000000000000001', content: 'größer', encoding: 'utf8' },
    ]);
    assert.deepEqual([answer?.steps[0]?.stdout, answer?.steps[0]?.stdoutBase64], ['\ufffd\ufffd\0', '//4A']);
    await close();
  });

  it('are listed, newest first, by state and tenant, with counts', async () => {
    const { ask, close } = await api(['a']);
    const ids = [];
    for (const tenant of ['x', 'y', 'x']) ids.push((await ask('POST', '/v1/runs?wait=30', { payload: { ...hi, tenant } })).body.id);
    const list = async (query: string) => (await ask('GET', `/v1/runs${query}`)).body;
    assert.deepEqual(
      (await list('')).runs.map(({ id }) => id),
      ids.toReversed(),
    );
    assert.deepEqual(
      (await list('?tenant=y')).runs.map(({ id }) => id),
      [ids[1]],
    );
    assert.deepEqual(
      (await list('?limit=1&state=finished')).runs.map(({ id }) => id),
      [ids[2]],
    );
    assert.deepEqual((await list('?state=waiting')).runs, []);
    assert.equal((await list('')).counts['finished'], 3);
    await close();
  });
});

describe('API: what is refused, and how', () => {
  it('bad input, with the field that is at fault', async () => {
    const { ask, close } = await api(['a']);
    const cases: [payload: unknown, about: RegExp][] = [
      [{}, /image: /],
      [{ image: 'x' }, /steps: give either command or steps/],
      [{ ...hi, bogus: 1 }, /request: Unrecognized key: "bogus"/],
      [{ ...hi, files: { a: 3 } }, /files\.a: expected string, received number/],
      [{ ...hi, files: [{ path: 'x', content: '%%', encoding: 'base64' }] }, /files\.0\.content: is not base64/],
      [{ ...hi, files: [{ path: 'x', mode: 99_999 }] }, /files\.0\.mode: Too big/],
      [{ ...hi, files: 3 }, /files: expected array.*, or expected record/],
      [{ ...hi, files: { '../x': '' } }, /the path "\.\.\/x" has a part "\." or "\.\."/],
      [{ ...hi, profile: { memory: -1 } }, /profile\.memory: Too small/],
      [{ ...hi, profile: { memroy: 1 } }, /profile: Unrecognized key: "memroy"/],
      [{ ...hi, profile: { network: 'bridge' } }, /profile: Unrecognized key: "network"/],
      [{ ...hi, priority: 10 }, /priority: Too big/],
      [{ ...hi, tenant: 'a b' }, /tenant: must be/],
      [{ ...hi, constraints: ['zone'] }, /constraints\.0: must be key==value/],
      [{ image: 'x', steps: [{ argv: ['a'], stdin: { base64: '!' } }] }, /steps\.0\.stdin\.base64/],
      [{ image: 'a b', command: ['x'] }, /image: expected a docker image name/],
    ];
    for (const [payload, about] of cases) {
      const { status, body } = await ask('POST', '/v1/runs', { payload: payload as object });
      assert.equal(status, 400, JSON.stringify(payload));
      assert.match(body.error?.message ?? '', about);
    }
    for (const query of ['wait=soon', 'wait=-1', 'wait=601']) {
      assert.match((await ask('POST', `/v1/runs?${query}`, { payload: hi })).body.error?.message ?? '', /^wait: /);
    }
    assert.match((await ask('GET', '/v1/runs?state=gone')).body.error?.message ?? '', /^state: /);
    await close();
  });

  it('bodies that are no JSON, none at all, too large, or of another kind', async () => {
    const { ask, close } = await api(['a']);
    const post = async (payload: string | undefined, type: string | undefined) => {
      const headers = { host: 'localhost', ...(type === undefined ? {} : { 'content-type': type }) };
      const { status, body } = await ask('POST', '/v1/runs', { headers, ...(payload === undefined ? {} : { payload }) });
      return [status, body.error?.code];
    };
    assert.deepEqual(await post('{"image":', 'application/json'), [400, 'request.invalid']);
    assert.deepEqual(await post('{"__proto__": {}}', 'application/json'), [400, 'request.invalid']);
    assert.deepEqual(await post(undefined, undefined), [400, 'request.invalid']);
    assert.deepEqual(await post('x'.repeat(20_000), 'application/json'), [413, 'request.too_large']);
    for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data; boundary=x', 'application/xml'])
      assert.deepEqual(await post('{}', type), [415, 'request.media_type'], type);
    await close();
  });

  it('files that can’t lie beside one another, and steps that no supervisor takes', async () => {
    const { ask, close } = await api(['a'], { bodyLimit: 128 * MiB });
    const post = async (payload: object) => {
      const { status, body } = await ask('POST', '/v1/runs', { payload: { image: 'any', ...payload } });
      return [status, body.error?.code];
    };
    const argv = ['echo'];
    const cases = [
      { command: argv, files: { a: '', 'a/b': '' } },
      { command: argv, files: [{ path: 'a' }], folders: [{ path: 'a/b/c' }] },
      { command: argv, files: [{ path: 'a' }], folders: [{ path: 'a' }] },
    ];
    for (const one of cases) assert.deepEqual(await post(one), [400, 'files.path'], JSON.stringify(one));
    assert.deepEqual(await post({ command: ['echo', 'x'.repeat(65_000), 'x'.repeat(1_000)] }), [400, 'request.invalid']);
    assert.deepEqual(await post({ steps: [{ argv, env: { A: 'é'.repeat(40_000) } }] }), [400, 'request.invalid']);
    assert.deepEqual(await post({ steps: [{ argv, stdin: 'x'.repeat(64 * MiB + 1) }] }), [400, 'request.invalid']);
    await close();
  });

  it('takes a content type without a body for none: cancelling, draining', async () => {
    const { ask, driver, close } = await api(['a']);
    const id = (await ask('POST', '/v1/runs', { payload: { ...hi, command: ['hold'] } })).body.id;
    await until(() => driver('a').holding === 1);
    for (const type of ['application/json', 'application/x-www-form-urlencoded', 'text/plain']) {
      const headers = { host: 'localhost', 'content-type': type };
      for (const how of ['drain', 'cordon', 'uncordon'])
        assert.equal((await ask('POST', `/v1/nodes/a/${how}`, { headers })).status, 200, type);
      assert.equal((await ask('POST', '/v1/runs', { headers })).status, 400);
      assert.equal((await ask('DELETE', `/v1/runs/${id}`, { headers })).status, 200, type);
    }
    assert.equal((await ask('GET', `/v1/runs/${id}?wait=30`)).body.state, 'finished');
    await close();
  });

  it('takes compressed bodies, and bounds what comes out of them', async () => {
    const { ask, close } = await api(['a']);
    const post = (payload: Buffer, encoding: string) =>
      ask('POST', '/v1/runs?wait=30', {
        payload,
        headers: { host: 'localhost', 'content-type': 'application/json', 'content-encoding': encoding },
      });
    const run = JSON.stringify(hi);
    const packed = { gzip: gzipSync(run), deflate: deflateSync(run), br: brotliCompressSync(run), identity: Buffer.from(run) };
    for (const [encoding, payload] of Object.entries(packed)) assert.equal((await post(payload, encoding)).status, 201, encoding);
    const bomb = await post(gzipSync(JSON.stringify({ ...hi, files: { a: 'x'.repeat(1_000_000) } })), 'gzip');
    assert.deepEqual([bomb.status, bomb.body.error?.code], [413, 'request.too_large']);
    const broken = await post(Buffer.from(run), 'gzip');
    assert.deepEqual([broken.status, broken.body.error?.code], [400, 'request.invalid']);
    const unknown = await post(Buffer.from(run), 'zstd');
    assert.deepEqual([unknown.status, unknown.body.error?.code], [415, 'request.media_type']);
    assert.match(unknown.body.error?.message ?? '', /expected the content-encoding gzip/);
    await close();
  });

  it('says which content type it expects', async () => {
    const { ask, close } = await api(['a']);
    for (const type of ['application/x-www-form-urlencoded', 'json', undefined]) {
      const headers = { host: 'localhost', ...(type === undefined ? {} : { 'content-type': type }) };
      const { status, body } = await ask('POST', '/v1/runs', { payload: '{}', headers });
      assert.equal(status, 415, type);
      assert.match(body.error?.message ?? '', /expected a body of application\/json, got /);
      assert.match(body.error?.hint ?? '', /content-type: application\/json/);
    }
    await close();
  });

  it('routes, runs and nodes that do not exist', async () => {
    const { ask, close } = await api(['a']);
    const nobody = '/v1/runs/00000000-0000-4000-8000-000000000000';
    const cases: [method: 'GET' | 'POST' | 'DELETE' | 'PUT', url: string, status: number, code: string][] = [
      ['GET', nobody, 404, 'run.unknown'],
      ['DELETE', nobody, 404, 'run.unknown'],
      ['GET', `${nobody}/explain`, 404, 'run.unknown'],
      ['GET', '/v1/runs/banana', 400, 'request.invalid'],
      ['GET', '/v1/nodes/nope', 404, 'node.unknown'],
      ['POST', '/v1/nodes/nope/drain', 404, 'node.unknown'],
      ['POST', '/v1/maintenance/nope', 404, 'request.unknown'],
      ['GET', '/v2', 404, 'request.unknown'],
      ['PUT', '/v1/runs', 404, 'request.unknown'],
      ['GET', `/${'x'.repeat(5_000)}`, 404, 'request.unknown'],
      ['GET', '/v1/nodes/%zz', 400, 'request.invalid'],
    ];
    for (const [method, url, status, code] of cases) {
      const answer = await ask(method, url);
      assert.deepEqual([answer.status, answer.body.error?.code], [status, code], url);
      assert.ok((answer.body.error?.message.length ?? 0) < 400);
    }
    await close();
  });

  it('a full queue, with when to come back', async () => {
    const { ask, driver, close } = await api(['a'], { ...one, limits: { runs: 1, bytes: MiB, perTenant: 1 } });
    const big = { ...hi, profile: { memory: 512 * MiB } };
    await ask('POST', '/v1/runs', { payload: { ...big, command: ['hold'] } });
    await until(() => driver('a').holding === 1);
    await ask('POST', '/v1/runs', { payload: big });
    const { status, headers, body } = await ask('POST', '/v1/runs', { payload: big });
    assert.deepEqual([status, body.error?.code], [429, 'queue.full']);
    assert.equal(headers['retry-after'], String(Math.ceil((body.error?.retryAfterMs ?? 0) / 1000)));
    assert.ok(Number(headers['retry-after']) >= 1);
    driver('a').letGo();
    await close();
  });

  it('a run that no node can ever take, with the reasons per node', async () => {
    const { ask, close } = await api(['a', 'b'], { settings: { a: { labels: { zone: 'x' } } } });
    const { status, body } = await ask('POST', '/v1/runs', { payload: { ...hi, constraints: ['zone==y'] } });
    assert.deepEqual([status, body.error?.code], [422, 'placement.impossible']);
    assert.match(body.error?.message ?? '', /a: zone==y wanted, its label is "x"; b: zone==y wanted, its label is ""/);
    await close();
  });

  it('a fault of katafleet’s own tells the client nothing of its workings', async () => {
    const { ask, fleet, close } = await api(['a']);
    fleet.images = () => {
      throw new TypeError('secret at /srv/x.ts:1');
    };
    const write = process.stderr.write.bind(process.stderr);
    let log = '';
    process.stderr.write = (text) => ((log += String(text)), true);
    try {
      const { status, body } = await ask('GET', '/v1/images');
      assert.deepEqual([status, body.error?.code], [500, 'internal']);
      assert.ok(!JSON.stringify(body).includes('secret'));
    } finally {
      process.stderr.write = write;
    }
    assert.match(log, /secret at/, 'the log has it');
    await close();
  });

  it('every coded error has its status', async () => {
    const { ask, fleet, close } = await api(['a']);
    for (const [code, { http }] of Object.entries(errorKinds)) {
      if (code === 'internal') continue;
      fleet.images = () => {
        throw new KatafleetError(code as keyof typeof errorKinds, 'told to', { hint: 'a hint' });
      };
      const { status, body } = await ask('GET', '/v1/images');
      assert.deepEqual([status, body.error?.code], [http, code]);
    }
    await close();
  });
});

describe('API: who may ask', () => {
  it('a name that is not this machine’s own is turned away where it listens on loopback only', async () => {
    const { ask, close } = await api(['a']);
    const status = async (host: string) => (await ask('GET', '/v1/nodes', { headers: { host } })).status;
    for (const host of ['localhost', 'LOCALHOST:7420', '127.0.0.1:7420', '127.1.2.3', '[::1]:7420'])
      assert.equal(await status(host), 200, host);
    for (const host of ['evil.example', 'localhost.evil.example', '127.0.0.1.evil.example:7420', '10.0.0.1', '[::2]'])
      assert.equal(await status(host), 403, host);
    assert.equal((await ask('GET', '/nowhere', { headers: { host: 'evil.example' } })).status, 403);
    await close();
  });

  it('a page of another site can’t drain a node', async () => {
    const { ask, summary, close } = await api(['a']);
    const drain = async (origin: string) =>
      (await ask('POST', '/v1/nodes/a/drain', { headers: { host: '127.0.0.1:7420', origin } })).status;
    for (const origin of ['https://evil.example', 'null', 'http://127.0.0.1:8000', 'http://localhost:7420'])
      assert.equal(await drain(origin), 403, origin);
    assert.equal(summary('a').cordoned, 'no');
    assert.equal(await drain('http://127.0.0.1:7420'), 200);
    await close();
  });
});

describe('API: the fleet', () => {
  it('images with their nodes', async () => {
    const { ask, driver, fleet, close } = await api(['a', 'b']);
    driver('b').tags = ['other:1'];
    await fleet.refreshImages();
    assert.deepEqual(
      (await ask('GET', '/v1/images')).body.images.map(({ name, ready }) => [name, ready]),
      [
        ['any:latest', ['a']],
        ['other:1', ['b']],
      ],
    );
    await close();
  });

  it('nodes: cordon, drain, uncordon, with what happened', async () => {
    const { ask, summary, close } = await api(['a']);
    assert.deepEqual(
      (await ask('GET', '/v1/nodes')).body.nodes.map(({ name }) => name),
      ['a'],
    );
    const cordoned = async (how: string) => ((await ask('POST', `/v1/nodes/a/${how}`)).body as unknown as { cordoned: string }).cordoned;
    assert.deepEqual([await cordoned('cordon'), await cordoned('drain'), await cordoned('uncordon')], ['cordoned', 'drained', 'no']);
    assert.equal(summary('a').cordoned, 'no');
    assert.deepEqual((await ask('GET', '/v1/nodes/a')).body.events, []);
    await close();
  });

  it('nodes: one machine of a swarm, by a name with a slash in it', async () => {
    const { ask, driver, events, close } = await api(['swarm'], { before: (fakes) => asSwarm(fakes.driver('swarm')) });
    const machines = (body: object) =>
      (body as { members: { name: string; availability: string; sandboxes: object }[] }).members.map(({ name, availability }) => [
        name,
        availability,
      ]);
    const [node] = (await ask('GET', '/v1/nodes')).body.nodes;
    assert.deepEqual(machines(node ?? {}), [
      ['h1', 'active'],
      ['h2', 'active'],
    ]);
    const one = await ask('GET', '/v1/nodes/swarm%2Fh2');
    assert.deepEqual([one.status, (one.body as { name?: string }).name], [200, 'h2']);
    assert.equal((await ask('GET', '/v1/nodes/swarm%2Fh9')).status, 404);
    for (const [how, availability] of [
      ['cordon', 'pause'],
      ['drain', 'drain'],
      ['uncordon', 'active'],
    ] as const) {
      const { status, body } = await ask('POST', `/v1/nodes/swarm%2Fh2/${how}`);
      assert.deepEqual([status, machines(body)[1]], [200, ['h2', availability]]);
    }
    assert.deepEqual(events.slice(1), ['swarm cordon: the machine h2', 'swarm drain: the machine h2', 'swarm uncordon: the machine h2']);
    const unknown = await ask('POST', '/v1/nodes/swarm%2Fh3/drain');
    assert.deepEqual([unknown.status, unknown.body.error?.code], [404, 'node.unknown']);
    assert.match(unknown.body.error?.message ?? '', /no machine "h3" behind swarm; there are: h1/);
    driver('swarm').standing[0] = fakeMachine('h1', { sandboxes: { idle: 7, busy: 7 } });
    const ready = await ask('GET', '/health/ready');
    assert.deepEqual(ready.body, { ready: true, nodes: { all: 1, ready: 1 }, runs: { waiting: 0, running: 0 } });
    await close();
  });

  it('explains why the sandbox of a run does not come', async () => {
    const { ask, driver, close } = await api(['a']);
    const words = 'No such image: any@sha256:4f0c';
    driver('a').troubles = () => Promise.resolve([words]);
    driver('a').faults = { stall: () => true };
    const { body } = await ask('POST', '/v1/runs', { payload: hi });
    await until(() => driver('a').stalled > 0);
    const explained = await ask('GET', `/v1/runs/${body.id}/explain`);
    assert.deepEqual([explained.body.state, explained.body.nodes[0]?.troubles], ['running', [words]]);
    assert.deepEqual((await ask('POST', '/v1/explain', { payload: hi })).body.nodes[0]?.troubles, [words]);
    assert.equal((await ask('DELETE', `/v1/runs/${body.id}`)).body.state, 'cancelled');
    await close();
  });

  it('explains a run that does not run yet, one that waits, and none that is over', async () => {
    const { ask, driver, close } = await api(['a', 'b'], {
      settings: { a: { reserve: { bytes: 7680 * MiB } }, b: { labels: { zone: 'x' } } },
    });
    const spec = await ask('POST', '/v1/explain', { payload: { ...hi, constraints: ['zone!=x'] } });
    assert.deepEqual(
      spec.body.nodes.map(({ node, kind, chosen }) => [node, kind, chosen]),
      [
        ['a', 'passes', true],
        ['b', 'passed_over', undefined],
      ],
    );
    const only = { ...hi, constraints: ['zone!=x'], profile: { memory: 512 * MiB } };
    const first = await ask('POST', '/v1/runs', { payload: { ...only, command: ['hold'] } });
    await until(() => driver('a').holding === 1);
    const { body } = await ask('POST', '/v1/runs', { payload: only });
    const waits = await ask('GET', `/v1/runs/${body.id}/explain`);
    assert.deepEqual([waits.body.state, waits.body.position], ['waiting', 1]);
    assert.match(JSON.stringify(waits.body.nodes), /memory: 512 MiB wanted, 0 B free/);
    driver('a').letGo();
    await ask('GET', `/v1/runs/${body.id}?wait=30`);
    assert.equal((await ask('GET', `/v1/runs/${first.body.id}/explain`)).body.nodes, undefined);
    await close();
  });

  it('maintenance: what there is, done now, or only told', async () => {
    const done: boolean[] = [];
    const job: MaintenanceJob = {
      name: 'reap',
      what: 'removes',
      schedule: undefined,
      run: (dryRun) => (done.push(dryRun), Promise.resolve('2 containers')),
    };
    const { ask, close } = await api(['a'], { jobs: [job] });
    const run = async (query: string) => (await ask('POST', `/v1/maintenance/reap${query}`)).body as object;
    assert.deepEqual(await run('?dryRun=true'), { job: 'reap', dryRun: true, detail: '2 containers' });
    assert.deepEqual(await run(''), { job: 'reap', dryRun: false, detail: '2 containers' });
    assert.deepEqual(done, [true, false]);
    assert.deepEqual(
      (await ask('GET', '/v1/maintenance')).body.jobs.map(({ name, outcome }) => [name, outcome]),
      [['reap', 'done']],
    );
    assert.equal((await ask('POST', '/v1/maintenance/reap?dryRun=perhaps')).status, 400);
    await close();
  });

  it('live is one thing, ready another', async () => {
    const { ask, driver, look, state, close } = await api(['a']);
    assert.deepEqual((await ask('GET', '/health/live')).body, { live: true });
    const ready = async () => {
      const { status, body } = await ask('GET', '/health/ready');
      return [status, body];
    };
    const runs = { waiting: 0, running: 0 };
    assert.deepEqual(await ready(), [200, { ready: true, nodes: { all: 1, ready: 1 }, runs }]);
    driver('a').faults = { unreachable: true };
    await look('a', 3);
    assert.deepEqual(await ready(), [503, { ready: false, nodes: { all: 1, ready: 0 }, runs }]);
    driver('a').faults = {};
    await look('a', 2);
    state.takes = false;
    assert.equal((await ready())[0], 503, 'the journal takes nothing');
    state.takes = true;
    assert.equal((await ready())[0], 200);
    state.stopping = true;
    assert.equal((await ready())[0], 503);
    assert.equal((await ask('GET', '/health/live')).status, 200);
    await close();
  });
});
