import assert from 'node:assert/strict';
import { Duplex, PassThrough } from 'node:stream';
import { inspect } from 'node:util';
import fc from 'fast-check';
import { KatafleetError } from '../../src/model/errors.ts';
import { profileOf, sandboxLimits } from '../../src/model/profile.ts';
import { AttachStream } from '../../src/drivers/engine/demux.ts';
import { connect, endpointFromEnvironment } from '../../src/drivers/engine/endpoint.ts';
import { engineError } from '../../src/drivers/docker/errors.ts';
import { fingerprint } from '../../src/drivers/engine/fingerprint.ts';
import { createOptions } from '../../src/drivers/engine/options.ts';
import { type ApiVersion, negotiate } from '../../src/drivers/docker/version.ts';

const code = (expected: string) => (error: unknown) => error instanceof KatafleetError && error.code === expected;
const piece = (stream: number, bytes: Uint8Array) => {
  const header = Buffer.alloc(8);
  header.writeUInt8(stream, 0);
  header.writeUInt32BE(bytes.length, 4);
  return Buffer.concat([header, bytes]);
};

describe('engine: API version', () => {
  const cases: [string, string | undefined, string][] = [
    ['1.41', '1.12', '1.41'],
    ['1.24', undefined, '1.24'],
    ['1.51', '1.24', '1.51'],
    ['1.99', '1.44', '1.51'],
  ];
  for (const [newest, least, chosen] of cases) {
    it(`speaks ${chosen} with an engine of ${least ?? '?'} to ${newest}`, () => {
      assert.equal(negotiate({ ApiVersion: newest, ...(least ? { MinAPIVersion: least } : {}) }).join('.'), chosen);
    });
  }

  it('refuses engines that are too old or too new', () => {
    assert.throws(() => negotiate({ ApiVersion: '1.18', Version: '1.6.2' }), code('engine.too_old'));
    assert.throws(() => negotiate({ ApiVersion: '1.70', MinAPIVersion: '1.60' }), code('engine.failed'));
    assert.throws(() => negotiate({ ApiVersion: 'nonsense' }), code('engine.failed'));
  });
});

describe('engine: options', () => {
  const spec = (volumes: string[] = [], shm = 0) => ({
    image: { name: 'x', id: 'sha256:1', volumes },
    limits: sandboxLimits(profileOf({ shm })),
    labels: { a: 'b' },
    name: 'one',
    idleMs: 5,
  });
  const host = (api: ApiVersion, ...rest: Parameters<typeof spec>) => createOptions(spec(...rest), api).HostConfig ?? {};

  it('isolate at every API version', () => {
    for (const minor of [24, 25, 32, 41, 51]) {
      const options = host([1, minor]);
      assert.equal(options.NetworkMode, 'none');
      assert.equal(options.MemorySwap, options.Memory);
      assert.equal(options.ReadonlyRootfs, true);
      assert.deepEqual(options.CapDrop, ['ALL']);
      assert.deepEqual(options.SecurityOpt, ['no-new-privileges']);
      assert.equal(options.LogConfig?.Type, 'none');
      assert.ok(!('KernelMemory' in options) && !options.Binds && !options.Privileged);
    }
  });

  it('have the network that the profile gives its programs, with no more capabilities than without', () => {
    const limits = sandboxLimits(profileOf({ network: 'class' }));
    const { HostConfig } = createOptions({ ...spec(), limits }, [1, 41], 'rsync-net');
    assert.equal(HostConfig?.NetworkMode, 'class');
    assert.deepEqual(HostConfig.CapAdd, host([1, 41]).CapAdd);
    assert.deepEqual([HostConfig.ExtraHosts, HostConfig.Dns, HostConfig.DnsSearch], [undefined, undefined, undefined], 'the engine’s own');
  });

  it('have hosts and resolv.conf tell nothing of the machine', () => {
    const { Hostname, NetworkDisabled, HostConfig } = createOptions(spec(), [1, 41]);
    // With NetworkDisabled the engine writes neither file.
    assert.deepEqual([Hostname, NetworkDisabled], ['sandbox', undefined]);
    assert.deepEqual([HostConfig?.ExtraHosts, HostConfig?.Dns, HostConfig?.DnsSearch], [['sandbox:127.0.0.1'], ['127.0.0.1'], ['.']]);
    const fetching = createOptions({ ...spec(), limits: { ...spec().limits, network: 'rsync' } }, [1, 41], 'rsync-net').HostConfig;
    assert.deepEqual([fetching?.ExtraHosts, fetching?.Dns, fetching?.DnsSearch], [['sandbox:127.0.0.1'], undefined, ['.']]);
  });

  it('say CPUs, shared memory and covered volumes as each version knows them', () => {
    assert.equal(host([1, 24]).CpuQuota, 100_000);
    assert.equal(host([1, 25]).NanoCpus, 1e9);
    assert.equal(host([1, 41]).IpcMode, 'none');
    assert.equal(host([1, 41], [], 1 << 20).ShmSize, 1 << 20);
    assert.deepEqual(
      host([1, 41], ['/data']).Mounts?.map(({ Type, Target }) => [Type, Target]),
      [['tmpfs', '/data']],
    );
  });

  it('leave memory beside the tmpfs', () => {
    const sizes = Object.values(host([1, 41]).Tmpfs ?? {}).map((text) => Number(/size=(\d+)/.exec(text)?.[1]));
    assert.equal(sizes.length, 2);
    assert.ok(sizes.reduce((a, b) => a + b, 0) <= 0.75 * profileOf().memory);
    for (const memory of [16, 100, 128, 512, 4096].map((mib) => mib * 1024 ** 2)) {
      const { shm } = sandboxLimits(profileOf({ memory }));
      assert.ok(shm > 0 && shm % 4096 === 0 && shm <= Math.min(memory / 16, 8 * 1024 ** 2), `${memory}: ${shm}`);
    }
    assert.equal(sandboxLimits(profileOf({ memory: 32 * 1024 ** 2, shm: 24 * 1024 ** 2 })).shm, 24 * 1024 ** 2, 'what is asked for holds');
  });
});

describe('engine: attach stream', () => {
  it('gives stdout’s bytes however the socket cuts them, and keeps stderr apart', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.constantFrom(0, 1, 2), fc.uint8Array({ maxLength: 50 }))),
        fc.integer({ min: 1, max: 20 }),
        async (pieces, size) => {
          const socket = new PassThrough();
          const stream = new AttachStream(socket);
          const bytes = Buffer.concat(pieces.map(([to, content]) => piece(to, content)));
          for (let at = 0; at < bytes.length; at += size) socket.write(bytes.subarray(at, at + size));
          socket.end();
          const read: Buffer[] = [];
          for await (const chunk of stream) read.push(chunk as Buffer);
          assert.deepEqual(Buffer.concat(read), Buffer.concat(pieces.filter(([to]) => to !== 2).map(([, content]) => content)));
        },
      ),
      { numRuns: 200 },
    );
  });

  it('thousands of one-byte pieces cost no stack, and a slow reader stops the socket', async () => {
    const socket = new PassThrough();
    const stream = new AttachStream(socket);
    socket.write(Buffer.concat(Array.from({ length: 50_000 }, () => piece(1, Buffer.from('x')))));
    await new Promise((resolve) => setImmediate(resolve));
    assert.ok(socket.isPaused(), 'nobody reads');
    socket.end();
    let length = 0;
    for await (const chunk of stream) length += (chunk as Buffer).length;
    assert.equal(length, 50_000);
  });

  it('a header that is none destroys it', async () => {
    const socket = new PassThrough();
    const stream = new AttachStream(socket);
    socket.write(Buffer.from('HTTP/1.1 200 OK'));
    await assert.rejects(async () => {
      for await (const _ of stream) assert.fail();
    }, /header that is none/);
    assert.ok(socket.destroyed);
  });

  it('tells when its carrier is gone though nobody reads', async () => {
    const socket = new Duplex({ read() {}, write: (_c, _e, done) => done() });
    const stream = new AttachStream(socket);
    socket.destroy();
    await stream.carrierClosed;
  });
});

describe('engine: endpoints and errors', () => {
  it('agents are written down in few words, for docker-modem does so at every call', () => {
    for (const endpoint of ['unix:///run/x.sock', 'tcp://node.example:2375', 'ssh://user@node.example:2222']) {
      const connection = connect(endpoint);
      const { agent } = connection.options as { agent?: object };
      assert.equal(inspect({ agent }, { showHidden: true, depth: null }), '{ agent: Agent {} }');
      connection.close();
    }
  });

  it('take unix, tcp and ssh, and refuse all else', () => {
    assert.equal(connect('unix:///run/x.sock').options.socketPath, '/run/x.sock');
    for (const path of ['/run/a folder/ö%20.sock', '/run/a?b#c']) assert.equal(connect(`unix://${path}`).options.socketPath, path);
    const tcp = connect('tcp://node.example:2375').options;
    assert.deepEqual([tcp.host, String(tcp.port), tcp.protocol], ['node.example', '2375', 'http']);
    connect('ssh://user@node.example:2222').close();
    for (const bad of ['', 'unix://', 'ftp://x', 'nonsense', '/var/run/docker.sock'])
      assert.throws(() => connect(bad), code('endpoint.invalid'), bad);
    assert.throws(() => connect('tcp://x', '/no/such/folder'), code('endpoint.invalid'));
  });

  it('are read from Docker’s own variables', () => {
    assert.deepEqual(endpointFromEnvironment({}), { endpoint: 'unix:///var/run/docker.sock' });
    assert.deepEqual(endpointFromEnvironment({ DOCKER_HOST: 'tcp://x:1', DOCKER_CERT_PATH: '/c' }), {
      endpoint: 'tcp://x:1',
      certPath: '/c',
    });
  });

  it('translates the engine’s messages into codes with hints', () => {
    const said = (error: object) => engineError(error, 'unix:///x', 'do').code;
    assert.equal(said({ code: 'EACCES' }), 'engine.permission');
    assert.equal(said({ code: 'ECONNREFUSED' }), 'engine.unreachable');
    assert.equal(said({ statusCode: 500, json: { message: 'mkdir /x: no space left on device' } }), 'engine.disk_full');
    assert.equal(said({ statusCode: 500, json: { message: 'oops' } }), 'engine.failed');
    assert.equal(said({ statusCode: 409, json: { message: 'busy' } }), 'engine.conflict');
  });

  it('fingerprints of engines that tell little and much', () => {
    assert.equal(fingerprint({}, [1, 24], 0).enforces.memory, false);
    const full = fingerprint(
      {
        Name: 'n',
        Architecture: 'aarch64',
        MemoryLimit: true,
        CgroupVersion: '2',
        Swarm: { LocalNodeState: 'active', ControlAvailable: true },
        SecurityOptions: ['name=seccomp,profile=default'],
      },
      [1, 41],
      0,
    );
    assert.deepEqual(
      [full.architecture, full.enforces.memory, full.cgroupVersion, full.swarm, full.seccomp],
      ['arm64', true, '2', 'manager', true],
    );
  });
});
