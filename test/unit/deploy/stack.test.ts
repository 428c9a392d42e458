import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { parse } from 'yaml';
import { KatafleetError } from '../../../src/model/errors.ts';
import { interpolate } from '../../../src/deploy/interpolate.ts';
import { networkSpecs, serviceSpec } from '../../../src/deploy/spec.ts';
import { parseStack, readStack, stackFile } from '../../../src/deploy/stack.ts';

const swarm = readFileSync(stackFile('swarm.yaml'), 'utf8');
const invalid = (about: RegExp) => (error: unknown) =>
  error instanceof KatafleetError && error.code === 'config.invalid' && about.test(error.message);
const own = { 'com.docker.stack.namespace': 's', 'katafleet.stack': 's' };

describe("variables in a stack's file", () => {
  it('are filled in as Docker does it, in texts at any depth and in no key', () => {
    const given = { a: ['${A}', 'x${A}y$$z'], b: { '${A}': '${EMPTY:-d e}', c: '${NONE:-}' }, n: 1, t: true, o: null };
    const filled = { a: ['1', 'x1y$z'], b: { '${A}': 'd e', c: '' }, n: 1, t: true, o: null };
    assert.deepEqual(interpolate(given, { A: '1', EMPTY: '' }), filled);
  });

  it('without a value or a default, or written otherwise, are a fault that says where', () => {
    assert.throws(() => interpolate({ a: { b: ['', '${A}'] } }, {}), invalid(/^a\.b\[1\]: the variable A is not set/));
    for (const text of ['$A', '${A-b}', '${A:?no}', '${', '100$'])
      assert.throws(() => interpolate({ a: text }, { A: '1' }), invalid(/^a: expected \$\{NAME\}/), text);
  });
});

describe('stacks/swarm.yaml', () => {
  /** What `docker stack deploy` of 20.10 made of the file, ids apart. */
  it('becomes the service that docker stack deploy makes of it', () => {
    const stack = readStack({ KATAFLEET_STACK: 's', KATAFLEET_SOCKET_GROUP: '999' });
    const ids = {
      networks: new Map([
        ['default', 'n1'],
        ['tasks', 'n2'],
      ]),
      configs: new Map([['config', 'c1']]),
      secrets: new Map([['key', 's1']]),
    };
    const spec = serviceSpec('s', 'katafleet', stack, 'sha256:1', ids);
    const labels = (spec.TaskTemplate as { ContainerSpec: { Labels: Record<string, string> } }).ContainerSpec.Labels;
    assert.match(labels['katafleet.deployed'] ?? '', /^[0-9a-f]{16}$/);
    delete labels['katafleet.deployed'];
    assert.deepEqual(JSON.parse(JSON.stringify(spec)), {
      Name: 's_katafleet',
      Labels: { ...own, 'com.docker.stack.image': 'katafleet/katafleet:latest', 'katafleet.role': 'server' },
      TaskTemplate: {
        ContainerSpec: {
          Image: 'sha256:1',
          Labels: own,
          Args: ['serve', '--listen', '0.0.0.0:7420'],
          Env: [
            'DOCKER_HOST=unix:///var/run/docker.sock',
            'KATAFLEET_CONFIG=/etc/katafleet/katafleet.yaml',
            'KATAFLEET_NAMES=katafleet tasks.katafleet s_katafleet tasks.s_katafleet {{.Node.Hostname}} ',
            'TMPDIR=/tmp',
          ],
          User: '10001:999',
          Init: true,
          ReadOnly: true,
          CapabilityDrop: ['ALL'],
          Mounts: [
            {
              Type: 'volume',
              Source: 's_state',
              Target: '/var/lib/katafleet',
              VolumeOptions: { Labels: { ...own, 'katafleet.role': 'state' } },
            },
            { Type: 'bind', Source: '/var/run/docker.sock', Target: '/var/run/docker.sock' },
            { Type: 'tmpfs', Target: '/tmp', TmpfsOptions: { SizeBytes: 67_108_864 } },
          ],
          StopGracePeriod: 60_000_000_000,
          Healthcheck: { Interval: 5_000_000_000, Timeout: 5_000_000_000, StartPeriod: 30_000_000_000, Retries: 3 },
          Secrets: [{ File: { Name: 'katafleet_key', UID: '10001', GID: '10001', Mode: 0o400 }, SecretID: 's1', SecretName: 's_key' }],
          Configs: [
            {
              File: { Name: '/etc/katafleet/katafleet.yaml', UID: '10001', GID: '10001', Mode: 0o400 },
              ConfigID: 'c1',
              ConfigName: 's_config_1',
            },
          ],
        },
        Resources: {
          Limits: { NanoCPUs: 0, MemoryBytes: 536_870_912 },
          Reservations: { NanoCPUs: 100_000_000, MemoryBytes: 134_217_728 },
        },
        RestartPolicy: { Condition: 'any', Delay: 1_000_000_000, MaxAttempts: 0 },
        Placement: { Constraints: ['node.role == manager', 'node.platform.os == linux'] },
        Networks: [
          { Target: 'n1', Aliases: ['katafleet'] },
          { Target: 'n2', Aliases: ['katafleet'] },
        ],
        ForceUpdate: 0,
        Runtime: 'container',
      },
      Mode: { Replicated: { Replicas: 1 } },
      UpdateConfig: { Parallelism: 1, FailureAction: 'rollback', Monitor: 15_000_000_000, MaxFailureRatio: 0, Order: 'stop-first' },
      RollbackConfig: { Parallelism: 1, FailureAction: 'pause', Monitor: 5_000_000_000, MaxFailureRatio: 0, Order: 'stop-first' },
      EndpointSpec: {
        Mode: 'dnsrr',
        Ports: [
          { Protocol: 'tcp', TargetPort: 7420, PublishedPort: 7420, PublishMode: 'host' },
          { Protocol: 'tcp', TargetPort: 7421, PublishedPort: 7421, PublishMode: 'host' },
        ],
      },
    });
    const networks = { Driver: 'overlay', CheckDuplicate: true, Labels: { ...own, 'katafleet.role': 'network' } };
    assert.deepEqual(
      [...networkSpecs('s', stack)],
      [
        ['default', { ...networks, Name: 's_default', Internal: false, Attachable: false }],
        ['tasks', { ...networks, Name: 's_tasks', Internal: true, Attachable: true }],
      ],
    );
  });

  it('is another deployment with another config, image or variable, and the same one with the same', () => {
    const ids = (config: string) => ({
      networks: new Map([
        ['default', 'n1'],
        ['tasks', 'n2'],
      ]),
      configs: new Map([['config', config]]),
      secrets: new Map([['key', 's1']]),
    });
    const hash = (variables: Record<string, string>, image: string, config: string) =>
      (
        serviceSpec('s', 'katafleet', readStack(variables), image, ids(config)).TaskTemplate as {
          ContainerSpec: { Labels: Record<string, string> };
        }
      ).ContainerSpec.Labels['katafleet.deployed'];
    const first = hash({}, 'i', 'c');
    assert.equal(hash({}, 'i', 'c'), first);
    const others = [hash({ KATAFLEET_MEMORY: '1g' }, 'i', 'c'), hash({}, 'j', 'c'), hash({}, 'i', 'd')];
    assert.equal(new Set([first, ...others]).size, 4);
  });

  it('its variables say what docs/deploying.md says, and no others are there', () => {
    const page = readFileSync(new URL('../../../docs/deploying.md', import.meta.url), 'utf8');
    const told = new Map([...page.matchAll(/^\| `(KATAFLEET_\w+)` *\| `([^`]*)`/gm)].map(([, name = '', value = '']) => [name, value]));
    for (const file of ['swarm.yaml', 'compose.yaml'] as const) {
      for (const [, name = '', value = ''] of readFileSync(stackFile(file), 'utf8').matchAll(/\$\{(KATAFLEET_\w+):-([^}]*)\}/g))
        assert.ok(
          (told.get(name) ?? '').split(', ').includes(value),
          `${file}: ${name} ${value}, and the page ${told.get(name) ?? 'nothing'}`,
        );
    }
  });

  it('with the mesh asked for needs a virtual address, which is told', () => {
    const mesh = { KATAFLEET_PUBLISH_MODE: 'ingress' };
    assert.throws(() => readStack(mesh), invalid(/deploy\.endpoint_mode: ports in the mesh \(ingress\) need vip, got dnsrr/));
    const { services } = readStack({ ...mesh, KATAFLEET_ENDPOINT_MODE: 'vip' });
    assert.deepEqual(
      services['katafleet']?.ports.map(({ mode }) => mode),
      ['ingress', 'ingress'],
    );
  });

  it('is refused with a field that Docker’s command would obey and katafleet would not', () => {
    const faults: [string, string, RegExp][] = [
      ['    init: true\n', '    init: true\n    privileged: true\n', /services\.katafleet: .*privileged/],
      ['      replicas: 1\n', '      replicas: 1\n      max_replicas: 2\n', /services\.katafleet\.deploy: .*max_replicas/],
      ['    driver: overlay\n', '    driver: bridge\n', /networks\.default\.driver/],
      ["version: '3.8'", "version: '3.9'", /version/],
      ['source: state,', 'source: other,', /services\.katafleet\.volumes: the stack has no other/],
      ['interval: 5s', 'interval: soon', /healthcheck\.interval: "soon" is not a time/],
      ['external: true', 'external: false', /secrets\.key\.external/],
      ["'${KATAFLEET_PORT:-7420}'", 'some', /ports\.0\.published/],
      ['services:', 'services: [', /swarm\.yaml: /],
    ];
    for (const [found, instead, about] of faults) {
      assert.ok(swarm.includes(found), found);
      assert.throws(() => parseStack(swarm.replace(found, instead), {}, 'swarm.yaml'), invalid(about), instead);
    }
  });
});

describe('stacks/compose.yaml', () => {
  it('publishes on loopback, and gives the server no more than it needs', () => {
    const read = interpolate(parse(readFileSync(stackFile('compose.yaml'), 'utf8')), { KATAFLEET_SOCKET_GROUP: '999' });
    const { services } = read as { services: Record<string, Record<string, unknown>> };
    assert.deepEqual(Object.keys(services), ['katafleet']);
    const { katafleet = {} } = services;
    const shown = [
      'ports',
      'user',
      'group_add',
      'read_only',
      'cap_drop',
      'security_opt',
      'init',
      'restart',
      'mem_limit',
      'stop_grace_period',
    ];
    assert.deepEqual(
      shown.map((key) => katafleet[key]),
      [['127.0.0.1:7420:7420'], '10001:10001', ['999'], true, ['ALL'], ['no-new-privileges:true'], true, 'unless-stopped', '512m', '60s'],
    );
    assert.deepEqual(katafleet['command'], ['serve', '--listen', '0.0.0.0:7420', '--published', '127.0.0.1:7420']);
    // A role would have it reaped as a sandbox that ended.
    assert.deepEqual(katafleet['labels'], { 'katafleet.stack': 'katafleet', 'katafleet.config': '1' });
  });
});
