import assert from 'node:assert/strict';
import fc from 'fast-check';
import { KatafleetError } from '../../../src/model/errors.ts';
import { sandboxLimits, profileOf } from '../../../src/model/profile.ts';
import { type References, serviceSpec, shapeHash, type TaskShape } from '../../../src/drivers/swarm/services/service.ts';

const MiB = 1024 ** 2;
const shape: TaskShape = {
  image: 'sha256:0123',
  architecture: 'amd64',
  volumes: ['/data'],
  limits: sandboxLimits(profileOf({ memory: 64 * MiB, cpus: 0.5, pids: 50 })),
  way: 'host',
  address: '10.0.0.7:7421',
  supervisor: 'abc',
  idleMs: 900_000,
  generation: '0',
  appArmor: false,
};
const refs: References = { config: { id: 'c', name: 'config' }, secret: { id: 's', name: 'name-hash' }, network: undefined };
const names = { name: 'name', stack: 'katafleet', labels: { 'katafleet.role': 'pool' } };
// What is asserted is the request's body, whatever the types call it.
const spec = (more: Partial<TaskShape> = {}, api: [number, number] = [1, 41], references = refs, excluded: string[] = []) =>
  JSON.parse(JSON.stringify(serviceSpec(names, { ...shape, ...more }, references, api, excluded))) as {
    TaskTemplate: Record<string, object> & { ContainerSpec: Record<string, unknown> & { Mounts: Record<string, unknown>[] } };
  } & Record<string, unknown>;

describe('a service of single-use sandboxes', () => {
  it('is bounded, unprivileged, silent, and replaced at once', () => {
    const { TaskTemplate: task, ...service } = spec();
    assert.deepEqual(task['Resources'], {
      Limits: { MemoryBytes: 64 * MiB, NanoCPUs: 5e8, Pids: 50 },
      Reservations: { MemoryBytes: 64 * MiB },
    });
    assert.deepEqual(task['RestartPolicy'], { Condition: 'any', Delay: 0 });
    assert.deepEqual(task['LogDriver'], { Name: 'none' });
    assert.deepEqual(task['Networks'], [{ Target: 'host' }]);
    assert.deepEqual(service['Mode'], { Replicated: { Replicas: 0 } });
    const { ContainerSpec: container } = task;
    assert.deepEqual(
      [container['Image'], container['ReadOnly'], container['Init'], container['User'], container['CapabilityDrop']],
      ['sha256:0123', true, false, '0:0', ['ALL']],
    );
    assert.deepEqual(
      (container['CapabilityAdd'] as string[]).toSorted(),
      ['CHOWN', 'DAC_OVERRIDE', 'FOWNER', 'KILL', 'NET_ADMIN', 'SETGID', 'SETPCAP', 'SETUID', 'SYS_ADMIN'].map((one) => `CAP_${one}`),
    );
  });

  it('goes to machines of which a run’s constraints hold, in the swarm’s own words', () => {
    const of = (...machines: string[]) =>
      (spec({ limits: { ...shape.limits, machines } }, [1, 41], refs, ['n1']).TaskTemplate['Placement'] as { Constraints: string[] })
        .Constraints;
    assert.deepEqual(of('zone==b', 'disk!=a b', 'node.hostname==h2', 'node.role!=manager'), [
      'node.id!=n1',
      'node.labels.zone==b',
      'node.labels.disk!=a b',
      'node.hostname==h2',
      'node.role!=manager',
    ]);
    for (const strange of ['zone==', 'zone!=ü', 'a/b==c', 'z==b']) {
      assert.throws(
        () => of(strange),
        (error) => error instanceof KatafleetError && error.code === 'limits.invalid' && error.message.includes(strange),
      );
    }
    assert.notEqual(shapeHash({ ...shape, limits: { ...shape.limits, machines: ['zone==b'] } }), shapeHash(shape));
  });

  it('is on the network that the profile gives its programs, which its supervisor keeps', () => {
    const { TaskTemplate: task, EndpointSpec } = spec({ limits: { ...shape.limits, joins: 'class' } });
    assert.deepEqual([task['Networks'], EndpointSpec], [[{ Target: 'class' }], { Mode: 'dnsrr' }]);
    const command = (task.ContainerSpec['Command'] as string[]).join(' ');
    assert.match(command, / --network keep /);
    assert.doesNotMatch((spec().TaskTemplate.ContainerSpec['Command'] as string[]).join(' '), /--network/);
  });

  it('has the supervisor as a config, and a secret for root alone', () => {
    const { ContainerSpec: container } = spec().TaskTemplate;
    assert.deepEqual(container['Secrets'], [
      { SecretID: 's', SecretName: 'name-hash', File: { Name: '/run/secrets/katafleet', UID: '0', GID: '0', Mode: 0o400 } },
    ]);
    assert.deepEqual(container['Configs'], [
      { ConfigID: 'c', ConfigName: 'config', File: { Name: '/.katafleet/supervisor', UID: '0', GID: '0', Mode: 0o555 } },
    ]);
    const command = (container['Command'] as string[]).join(' ');
    assert.match(command, /^\/\.katafleet\/supervisor --dial 10\.0\.0\.7:7421 --secret \/run\/secrets\/katafleet --lifetime 900000 /);
    assert.match(command, /--tmpfs \/sandbox=33554432 --tmpfs \/tmp=16777216$/);
    assert.ok((container['Env'] as string[]).includes('KATAFLEET_SECRET=name-hash'));
  });

  it('has nothing on the node’s disk: a tmpfs each, volumes only where nobody may mount', () => {
    const kinds = (of: ReturnType<typeof spec>) =>
      Object.fromEntries(of.TaskTemplate.ContainerSpec.Mounts.map(({ Target, Type }) => [Target, Type])) as Record<string, unknown>;
    const tmpfs = { '/sandbox': 'tmpfs', '/tmp': 'tmpfs', '/dev/shm': 'tmpfs', '/data': 'tmpfs' };
    assert.deepEqual(kinds(spec()), tmpfs);
    assert.deepEqual(kinds(spec({ appArmor: true })), { ...tmpfs, '/sandbox': 'volume', '/tmp': 'volume' });
    assert.deepEqual(kinds(spec({ appArmor: true }, [1, 46])), tmpfs);
    const [sandbox] = spec({}, [1, 46]).TaskTemplate.ContainerSpec.Mounts;
    assert.deepEqual((sandbox?.['TmpfsOptions'] as { Options: unknown }).Options, [['exec']]);
  });

  it('says no-new-privileges where services have the word', () => {
    assert.equal(spec().TaskTemplate.ContainerSpec['Privileges'], undefined);
    assert.deepEqual(spec({}, [1, 44]).TaskTemplate.ContainerSpec['Privileges'], { NoNewPrivileges: true });
  });

  it('is on an overlay by DNS alone, and keeps off nodes that lack the image', () => {
    const over = spec({ way: 'overlay' }, [1, 41], { ...refs, network: 'n' }, ['a', 'b']);
    assert.deepEqual([over.TaskTemplate['Networks'], over['EndpointSpec']], [[{ Target: 'n' }], { Mode: 'dnsrr' }]);
    assert.deepEqual((over.TaskTemplate['Placement'] as { Constraints: string[] }).Constraints, ['node.id!=a', 'node.id!=b']);
    assert.equal(spec()['EndpointSpec'], undefined);
  });

  it('has other tasks, and another secret, when anything that they are made of changes', () => {
    const others: Partial<TaskShape>[] = [
      { image: 'sha256:4567' },
      { architecture: 'arm64' },
      { volumes: [] },
      { limits: { ...shape.limits, memory: 65 * MiB } },
      { way: 'overlay' },
      { address: '10.0.0.8:7421' },
      { supervisor: 'abd' },
      { idleMs: 1 },
      { generation: '1' },
      { appArmor: true },
    ];
    const hashes = new Set([shapeHash(shape), ...others.map((other) => shapeHash({ ...shape, ...other }))]);
    assert.equal(hashes.size, others.length + 1);
    const reordered = Object.fromEntries(Object.entries(shape.limits).reverse()) as TaskShape['limits'];
    assert.equal(shapeHash({ ...shape, limits: reordered }), shapeHash(shape));
  });

  // Field by field, so that nothing comes in, or goes, unnoticed.
  const whole = {
    Name: 'name',
    Labels: { 'katafleet.role': 'pool' },
    TaskTemplate: {
      ContainerSpec: {
        Image: 'sha256:0123',
        Command: [
          ...['/.katafleet/supervisor', '--dial', '10.0.0.7:7421', '--secret', '/run/secrets/katafleet', '--lifetime', '900000'],
          ...['--tmpfs', '/sandbox=33554432', '--tmpfs', '/tmp=16777216'],
        ],
        Env: ['KATAFLEET_SERVICE=name', 'KATAFLEET_SECRET=name-hash', 'KATAFLEET_TASK={{.Task.ID}}', 'KATAFLEET_NODE={{.Node.ID}}'],
        Labels: { 'katafleet.role': 'sandbox', 'katafleet.stack': 'katafleet' },
        Hostname: '{{.Task.ID}}',
        Hosts: ['127.0.0.1 sandbox'],
        DNSConfig: { Nameservers: ['127.0.0.1'], Search: ['.'] },
        User: '0:0',
        Dir: '/',
        ReadOnly: true,
        Init: false,
        TTY: false,
        OpenStdin: false,
        HealthCheck: { Test: ['NONE'] },
        StopSignal: 'SIGTERM',
        StopGracePeriod: 25 * 3_600e9,
        CapabilityDrop: ['ALL'],
        CapabilityAdd: ['SETUID', 'SETGID', 'SETPCAP', 'KILL', 'CHOWN', 'FOWNER', 'DAC_OVERRIDE', 'SYS_ADMIN', 'NET_ADMIN'].map(
          (one) => `CAP_${one}`,
        ),
        Ulimits: [
          { Name: 'core', Soft: 1, Hard: 1 },
          { Name: 'msgqueue', Soft: 0, Hard: 0 },
        ],
        Mounts: [
          { Type: 'tmpfs', Target: '/sandbox', TmpfsOptions: { SizeBytes: 32 * MiB, Mode: 0o755 } },
          { Type: 'tmpfs', Target: '/tmp', TmpfsOptions: { SizeBytes: 16 * MiB, Mode: 0o1777 } },
          { Type: 'tmpfs', Target: '/dev/shm', TmpfsOptions: { SizeBytes: 4 * MiB, Mode: 0o1777 } },
          { Type: 'tmpfs', Target: '/data', TmpfsOptions: { SizeBytes: 4096, Mode: 0o755 } },
        ],
        Configs: [{ ConfigID: 'c', ConfigName: 'config', File: { Name: '/.katafleet/supervisor', UID: '0', GID: '0', Mode: 0o555 } }],
        Secrets: [{ SecretID: 's', SecretName: 'name-hash', File: { Name: '/run/secrets/katafleet', UID: '0', GID: '0', Mode: 0o400 } }],
      },
      Resources: {
        Limits: { MemoryBytes: 64 * MiB, NanoCPUs: 5e8, Pids: 50 },
        Reservations: { MemoryBytes: 64 * MiB },
      },
      RestartPolicy: { Condition: 'any', Delay: 0 },
      Placement: {
        Constraints: [],
        Platforms: [
          { OS: 'linux', Architecture: 'amd64' },
          { OS: 'linux', Architecture: 'x86_64' },
        ],
      },
      LogDriver: { Name: 'none' },
      Networks: [{ Target: 'host' }],
    },
    Mode: { Replicated: { Replicas: 0 } },
    UpdateConfig: { Parallelism: 0, FailureAction: 'continue', Order: 'stop-first' },
  };

  it('is this and nothing else at API 1.41', () => assert.deepEqual(spec(), whole));

  it('has at API 1.44 one word more, at 1.46 tmpfs that a program can be run from', () => {
    const { TaskTemplate: task } = structuredClone(whole);
    const container = { ...task.ContainerSpec, Privileges: { NoNewPrivileges: true } };
    assert.deepEqual(spec({}, [1, 44]), { ...whole, TaskTemplate: { ...task, ContainerSpec: container } });
    const [sandbox, tmp, ...mounts] = container.Mounts;
    const exec = [sandbox, tmp].map((mount) => ({ ...mount, TmpfsOptions: { ...mount?.TmpfsOptions, Options: [['exec']] } }));
    const newest = { ...container, Mounts: [...exec, ...mounts] };
    assert.deepEqual(spec({}, [1, 46]), { ...whole, TaskTemplate: { ...task, ContainerSpec: newest } });
  });

  it('has a hosts file and a resolver of its own, as far as dialling allows', () => {
    const of = (more: Partial<TaskShape>) => {
      const { Hosts, DNSConfig } = spec(more).TaskTemplate.ContainerSpec;
      return [Hosts, DNSConfig];
    };
    const own = ['127.0.0.1 sandbox'];
    assert.deepEqual(of({ address: 'katafleet.example:7421' }), [own, undefined], 'it has to look the name up');
    assert.deepEqual(of({ way: 'overlay', address: 'katafleet:7421' }), [own, { Search: ['.'] }]);
    assert.deepEqual(of({ limits: { ...shape.limits, joins: 'class' } }), [undefined, undefined], 'a network of its program’s has its own');
  });

  it('keeps programs out of shared memory where the profile has none', () => {
    const shm = spec({ limits: { ...shape.limits, shm: 0 } }).TaskTemplate.ContainerSpec.Mounts.find(({ Target }) => Target === '/dev/shm');
    assert.deepEqual(shm, { Type: 'tmpfs', Target: '/dev/shm', TmpfsOptions: { SizeBytes: 4096, Mode: 0o755 } });
  });

  it('has the limits of each profile as they are, and reserves what it may use', () => {
    const bytes = fc.integer({ min: 16 * MiB, max: 1024 * 1024 * MiB });
    fc.assert(
      fc.property(bytes, fc.integer({ min: 5, max: 102_400 }), fc.integer({ min: 4, max: 32_768 }), (memory, percent, pids) => {
        const limits = { ...shape.limits, memory, cpus: percent / 100, pids };
        const { Limits, Reservations } = spec({ limits }).TaskTemplate['Resources'] as Record<string, Record<string, number>>;
        assert.deepEqual(Limits, { MemoryBytes: memory, NanoCPUs: percent * 1e7, Pids: pids });
        assert.deepEqual(Reservations, { MemoryBytes: memory });
        const sizes = spec({ limits })
          .TaskTemplate.ContainerSpec.Mounts.slice(0, 2)
          .map(({ TmpfsOptions }) => (TmpfsOptions as { SizeBytes: number }).SizeBytes);
        assert.ok(sizes.every((size) => size % 4096 === 0) && sizes.reduce((sum, size) => sum + size, 0) <= 0.75 * memory);
      }),
    );
  });

  it('has the same fingerprint however its fields are ordered', () => {
    const reordered = Object.fromEntries(Object.entries(shape).reverse()) as unknown as TaskShape;
    assert.equal(shapeHash(reordered), shapeHash(shape));
  });

  it('has other tasks for each limit that differs', () => {
    const others = Object.entries(shape.limits).map(([limit, value]) => ({ ...shape.limits, [limit]: Number(value) + 4096 }));
    const dial = { ...shape.limits, dial: 'overlay' as const };
    assert.equal(new Set([shape.limits, dial, ...others].map((limits) => shapeHash({ ...shape, limits }))).size, others.length + 2);
  });
});
