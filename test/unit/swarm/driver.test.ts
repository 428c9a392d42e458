import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ErrorCode, KatafleetError } from '../../../src/model/errors.ts';
import { labels } from '../../../src/model/labels.ts';
import { profileOf, sandboxLimits, type SandboxLimits } from '../../../src/model/profile.ts';
import type { SandboxSpec } from '../../../src/drivers/contract.ts';
import { EndpointDriver } from '../../../src/drivers/endpoint-driver.ts';
import { EngineDriver } from '../../../src/drivers/engine/driver.ts';
import { DialledStream } from '../../../src/drivers/swarm/dial/dialled.ts';
import { SwarmDriver } from '../../../src/drivers/swarm/driver.ts';
import type { SwarmDriverOptions } from '../../../src/drivers/swarm/options.ts';
import { SwarmKeys } from '../../../src/drivers/swarm/services/keys.ts';
import { Listener } from '../../../src/drivers/swarm/dial/listener.ts';
import { SwarmConnector, type SwarmOptions } from '../../../src/app/swarm.ts';
import { Dialer } from '../../support/dialer.ts';
import { eventually } from '../../support/eventually.ts';
import { FakeDriver } from '../../support/fake-driver.ts';
import { type Kept, stubImage, stubNode, StubSwarm } from '../../support/stub-swarm.ts';

const id = 'sha256:0123456789ab';
const limits = sandboxLimits(profileOf());
const spec = (name: string, of: SandboxLimits = limits): SandboxSpec => ({
  name,
  image: { name: 'x', id, volumes: [] },
  limits: of,
  labels: { [labels.sandbox]: name },
  idleMs: 60_000,
});
const is = (code: ErrorCode) => (error: unknown) => error instanceof KatafleetError && error.code === code;
const noManager = 'This node is not a swarm manager. Worker nodes can’t be used to view or modify cluster state.';

describe('the driver of a swarm', () => {
  let swarm: StubSwarm;
  let keys: SwarmKeys;
  let troubles: string[];
  let open: (() => unknown)[];
  let port: number;

  beforeEach(async () => {
    swarm = await StubSwarm.start();
    swarm.images = { x: stubImage(id), [id]: stubImage(id) };
    keys = new SwarmKeys(Buffer.alloc(32, 7));
    [troubles, open, port] = [[], [], 0];
  });
  afterEach(async () => {
    for (const close of open.reverse()) await close();
    await swarm[Symbol.asyncDispose]();
  });

  const driver = async (more: Partial<SwarmDriverOptions> = {}): Promise<SwarmDriver> => {
    const listener = new Listener({ host: '127.0.0.1', port: 0 });
    port = await listener.ready();
    const made = new SwarmDriver({
      managers: [new EngineDriver({ endpoint: swarm.endpoint })],
      ...{ listener, keys, stack: 'k', instance: 'a', dial: 'host', workers: [], lingerMs: 600_000, patienceMs: 30_000 },
      onTrouble: (message) => troubles.push(message),
      ...more,
    });
    open.push(() => listener.close());
    open.push(() => made.close().catch(() => undefined)); // some tests close it themselves, and see to what that says
    return made;
  };
  const soon = (what: string, check: () => void) =>
    eventually(what, 30, async () => {
      await Promise.resolve();
      check();
    });
  const [pools, replicas] = [
    () => Array.from(swarm.kept.services.values()),
    ({ Spec }: Kept) => (Spec['Mode'] as { Replicated: { Replicas: number } }).Replicated.Replicas,
  ];
  const service = (count = 1) =>
    eventually('the service', 30, () => {
      assert.equal(pools().length, count);
      return Promise.resolve(pools().at(-1) as Kept);
    });
  const container = ({ Spec }: Kept) =>
    (Spec['TaskTemplate'] as { ContainerSpec: { Env: string[]; Command: string[] }; Placement: { Constraints: string[] } }).ContainerSpec;
  /** A task of it, as its own specification has it dial. */
  const dial = async (of: Kept, task: string, node = 'n1'): Promise<Dialer> => {
    const env = Object.fromEntries(container(of).Env.map((one) => one.split('='))) as Record<string, string>;
    const [name = '', secret = ''] = [env['KATAFLEET_SERVICE'], env['KATAFLEET_SECRET']];
    const key = Buffer.from(swarm.find('secrets', secret)?.Spec['Data'] as string, 'base64');
    const dialer = await Dialer.connect(port);
    open.push(() => dialer.socket.destroy());
    dialer.socket.on('end', () => dialer.socket.end());
    await dialer.prove({ service: name, secret, task, node }, key);
    return dialer;
  };

  it('makes a service for a request, and hands out its tasks as they dial in', async () => {
    const one = await driver();
    const sandboxes = [one.create(spec('a')), one.create(spec('b'))];
    const made = await service();
    await soon('both are wanted', () => assert.equal(replicas(made), 2));
    assert.deepEqual(container(made).Command.slice(1, 3), ['--dial', `127.0.0.1:${port}`]);
    await dial(made, 't1');
    await dial(made, 't2');
    const [a, b] = await Promise.all(sandboxes);
    assert.deepEqual([a?.id, a?.name, a?.node, b?.id], ['t1', 'a', 'host-n1', 't2']);
    assert.deepEqual(
      (await one.machines()).map(({ sandboxes: { idle, busy } }) => idle + busy),
      [2],
    );
    assert.deepEqual(
      (await one.list()).map(({ id: task, labels: own }) => [task, own[labels.sandbox]]),
      [
        ['t1', 'a'],
        ['t2', 'b'],
      ],
    );
    await Promise.all([one.remove('t1'), b?.remove(), one.remove('unknown')]);
    assert.deepEqual(await one.list(), []);
  });

  describe('asks the swarm what a task ended with', () => {
    const task = (ID: string, State: string, ExitCode: number) => ({
      ...{ ID, NodeID: 'n1', DesiredState: 'shutdown' },
      Status: { State, ContainerStatus: { ContainerID: 'c', PID: 0, ExitCode } },
    });
    /** A sandbox whose task has dialled in, and the service that it is of. */
    const served = async () => {
      const one = await driver();
      const waiting = one.create(spec('a'));
      const made = await service();
      const dialer = await dial(made, 't1');
      return { sandbox: await waiting, dialer, made };
    };
    const asked = () => swarm.asked.filter(({ url }) => url.startsWith('/tasks') && decodeURIComponent(url).includes('"t1"')).length;

    it('once it has heard of it: before, a task has no exit code but a 0', async () => {
      const { sandbox, dialer, made } = await served();
      swarm.tasks[made.Spec.Name] = [task('t1', 'running', 0)];
      const ended = sandbox.ended();
      dialer.socket.end();
      await soon('it is asked', () => assert.ok(asked() > 0));
      swarm.tasks[made.Spec.Name] = [task('t1', 'failed', 137)];
      assert.deepEqual(await ended, { exitCode: 137, oomKilled: false, silent: false });
    });

    it('and gets no exit code of a task that the swarm has forgotten', async () => {
      const { sandbox, dialer } = await served();
      dialer.socket.end();
      assert.deepEqual(await sandbox.ended(), { exitCode: undefined, oomKilled: false, silent: false });
    });

    it('until its caller aborts', async () => {
      const { sandbox, dialer, made } = await served();
      swarm.tasks[made.Spec.Name] = [task('t1', 'running', 0)];
      const enough = new AbortController();
      const ended = sandbox.ended(enough.signal);
      dialer.socket.end();
      await soon('it is asked', () => assert.ok(asked() > 0));
      enough.abort(new Error('enough'));
      await assert.rejects(ended, /enough|aborted/);
    });

    it('but not if katafleet closed the connection, because the node may be lost', async () => {
      const { sandbox } = await served();
      sandbox.stream.destroy();
      assert.deepEqual(await sandbox.ended(), { exitCode: undefined, oomKilled: false, silent: false });
      assert.equal(asked(), 0);
    });
  });

  it('reports the machine of a silent sandbox as lost, without asking the swarm', async () => {
    const one = await driver();
    const waiting = one.create(spec('a'));
    await dial(await service(), 't1');
    const sandbox = await waiting;
    assert.ok(sandbox.stream instanceof DialledStream);
    sandbox.stream.on('error', () => undefined).giveUp();
    assert.deepEqual(await sandbox.ended(), { exitCode: undefined, oomKilled: false, silent: true });
    assert.equal(swarm.asked.filter(({ url }) => url.startsWith('/tasks') && decodeURIComponent(url).includes('"t1"')).length, 0);
  });

  it('admits no task that does not know the secret, and none of a service that is not its own', async () => {
    const one = await driver();
    const waiting = one.create(spec('a'));
    const made = await service();
    const [secret = ''] = swarm.names('secrets');
    const claims: [string, string, Buffer, string][] = [
      [made.Spec.Name, secret, SwarmKeys.ephemeral().secret(secret), 'unproved'],
      [made.Spec.Name, `${made.Spec.Name}-000000000000`, keys.secret(`${made.Spec.Name}-000000000000`), 'unproved'],
      ['k-other', 'k-other-0', keys.secret('k-other-0'), 'unproved'],
    ];
    for (const [name, of, key, why] of claims) {
      const dialer = await Dialer.connect(port);
      await dialer.claim({ service: name, secret: of }, key);
      assert.equal(await dialer.refused(), why);
    }
    await dial(made, 't1');
    assert.equal((await waiting).id, 't1');
  });

  describe('started again', () => {
    it('takes over what was left: tasks that wait dial in, and serve without a word to the swarm', async () => {
      const former = await driver();
      const waiting = former.create(spec('a'));
      const made = await service();
      await dial(made, 't1');
      await waiting;
      await former.close();
      assert.equal(pools().length, 1);
      const again = await driver({ advertise: container(made).Command[2] });
      await again.probe();
      const before = swarm.changes().length;
      await dial(made, 't2');
      assert.equal((await again.create(spec('b'))).id, 't2');
      assert.equal(swarm.changes().length, before);
    });

    it('goes on from its own number, whatever others want of the same service', async () => {
      const former = await driver();
      const waiting = [1, 2, 3].map((at) => former.create(spec(`a${at}`)).catch((error: unknown) => error));
      const made = await service();
      await soon('all are wanted', () => assert.equal(replicas(made), 3));
      await former.close();
      await Promise.all(waiting);
      const others = { ...made.Spec.Labels, 'katafleet.want.b': `2@${Date.now()}` };
      swarm.touch(made, { Labels: others, Mode: { Replicated: { Replicas: 5 } } });
      const again = await driver({ advertise: container(made).Command[2] });
      for (const at of [1, 2, 3, 4]) void again.create(spec(`b${at}`)).catch(() => undefined); // the end of the test is theirs
      await soon('one more', () => assert.equal(replicas(made), 6));
    });

    it('with another key, leaves the existing services and reports them', async () => {
      const enough = new AbortController();
      const waiting = (await driver()).create(spec('a'), enough.signal).catch(() => undefined); // nobody dials
      await service();
      enough.abort();
      await waiting;
      const before = swarm.changes().length;
      await (await driver({ keys: SwarmKeys.ephemeral() })).probe();
      assert.match(troubles.join(), /1 services of another key/);
      assert.equal(swarm.changes().length, before);
    });
  });

  describe('of a process that leaves nothing', () => {
    const ephemeral = { [labels.deadline]: '1', [labels.owner]: 'x' };

    it('takes away all that it made when it is closed', async () => {
      const one = await driver({ ephemeral });
      const waiting = [one.create(spec('a')), one.create(spec('b', { ...limits, pids: 50 }))];
      const settled = Promise.allSettled(waiting);
      await service(2);
      await one.close();
      assert.deepEqual(
        (await settled).map((end) => end.status === 'rejected' && is('node.lost')(end.reason)),
        [true, true],
      );
      for (const kind of ['services', 'secrets', 'configs', 'networks'] as const) assert.deepEqual(swarm.names(kind), [], kind);
      await assert.rejects(one.create(spec('c')), is('node.lost'));
    });

    it('lets go of its engines though the swarm does not let it take anything away', async () => {
      const worker = new FakeDriver();
      let closed = 0;
      worker.close = () => void (closed += 1);
      const one = await driver({ ephemeral, workers: [worker] });
      const waiting = one.create(spec('a')).catch((error: unknown) => error);
      await service();
      swarm.before = ({ method }) => (method === 'DELETE' ? [500, 'no'] : undefined);
      await assert.rejects(one.close(), is('engine.failed'));
      await waiting;
      assert.equal(closed, 1);
    });

    it('has its services found by the next, which takes them away with all that was theirs', async () => {
      const gone = await driver({ ephemeral });
      void gone.create(spec('a')).catch(() => undefined); // it is killed, as far as the swarm knows
      const { Spec } = await service();
      const next = await driver({ keys: SwarmKeys.ephemeral(), ephemeral, instance: 'b' });
      const found = await next.list();
      assert.deepEqual(
        found.map(({ id: name, labels: own }) => [name, own[labels.owner]]),
        [[Spec.Name, 'x']],
      );
      await next.remove(Spec.Name);
      for (const kind of ['services', 'secrets', 'configs'] as const) assert.deepEqual(swarm.names(kind), [], kind);
    });
  });

  it('keeps a new pool off the nodes that are known to lack its image', async () => {
    swarm.nodes = [stubNode('n1'), stubNode('n2')];
    const one = await driver();
    void one.create(spec('a')).catch(() => undefined); // nobody dials
    const first = await service();
    const Status = { State: 'rejected', Err: `No such image: ${id}`, Timestamp: new Date(Date.now() + 60_000).toISOString() };
    swarm.tasks[first.Spec.Name] = [{ ID: 't', NodeID: 'n2', DesiredState: 'shutdown', Status }];
    const constraints = ({ Spec }: Kept) => (Spec['TaskTemplate'] as { Placement: { Constraints: string[] } }).Placement.Constraints;
    await soon('it is found out', () => assert.deepEqual(constraints(first), ['node.id!=n2']));
    const other = { ...limits, pids: 50 };
    void one.create(spec('b', other)).catch(() => undefined); // nobody dials
    assert.deepEqual(constraints(await service(2)), ['node.id!=n2']);
    assert.match((await one.troubles('x', other)).join(), /nothing is placed on host-n2, which lack the image/);
  });

  it('has no network for rsync, and no image that the manager has not', async () => {
    const one = await driver();
    await assert.rejects(one.create(spec('a', { ...limits, network: 'rsync' })), is('rsync.off'));
    await assert.rejects(one.prepare('unknown'), is('image.unknown'));
  });

  describe('as one of those that can serve an endpoint', () => {
    it('is replaced by the engine driver when the engine no longer manages a swarm, and comes back', async () => {
      const engine = new EngineDriver({ endpoint: swarm.endpoint });
      const one = await driver({ managers: [engine] });
      const endpoint = new EndpointDriver({ engine, connect: () => one });
      endpoint.use('swarm');
      const together = await endpoint.probe();
      assert.deepEqual([endpoint.kind, together.largest?.cpus, endpoint.independent], ['swarm', 2, true]);
      swarm.info = { ...swarm.info, Swarm: { LocalNodeState: 'active', ControlAvailable: false } };
      swarm.before = () => [503, noManager];
      endpoint.forget();
      assert.deepEqual([(await endpoint.probe()).swarm, endpoint.kind, endpoint.machines], ['worker', 'engine', undefined]);
      swarm.info = { ...swarm.info, Swarm: { LocalNodeState: 'active', ControlAvailable: true } };
      swarm.before = () => undefined;
      endpoint.forget();
      endpoint.use('swarm');
      assert.deepEqual([(await endpoint.probe()).largest?.cpus, endpoint.kind], [2, 'swarm']);
    });

    it('stays while it only has no leader', async () => {
      const engine = new EngineDriver({ endpoint: swarm.endpoint });
      const one = await driver({ managers: [engine] });
      const endpoint = new EndpointDriver({ engine, connect: () => one });
      endpoint.use('swarm');
      swarm.before = () => [500, 'rpc error: code = Unknown desc = The swarm does not have a leader.'];
      await assert.rejects(endpoint.probe(), is('swarm.leaderless'));
      assert.equal(endpoint.kind, 'swarm');
    });
  });

  describe('as a katafleet makes it', () => {
    let folder: string;
    beforeEach(() => {
      folder = mkdtempSync(join(tmpdir(), 'katafleet-connector-'));
      open.push(() => rmSync(folder, { recursive: true }));
    });
    const connected = (options: SwarmOptions) => {
      const connector = new SwarmConnector({ listen: { host: '127.0.0.1', port: 0 }, ...options }, {});
      const settings = {
        name: 's',
        labels: {},
        driver: 'auto' as const,
        reserve: { share: 0 },
        withoutMemoryLimits: false,
        cordoned: false,
      };
      const made = connector.driver(new EngineDriver({ endpoint: swarm.endpoint }), { endpoint: swarm.endpoint, ...settings });
      open.push(() => connector.close());
      open.push(() => made.close().catch(() => undefined)); // some tests close it themselves
      return { made, connector };
    };

    it('has pools that end with the process, or with a key, that stay', async () => {
      const passing = connected({}).made;
      const first = passing.create(spec('a')).catch((error: unknown) => error);
      const own = (await service()).Spec.Labels ?? {};
      assert.ok(Number(own[labels.deadline]) > Date.now() && own[labels.owner] !== undefined);
      await passing.close();
      assert.ok(is('node.lost')(await first));
      assert.deepEqual(pools(), []);
      const lasting = connected({ key: join(folder, 'swarm.key') }).made;
      const second = lasting.create(spec('a')).catch((error: unknown) => error);
      const { Spec } = await service();
      assert.deepEqual([Spec.Labels?.[labels.deadline], Spec.Labels?.[labels.owner]], [undefined, undefined]);
      await lasting.close();
      await second;
      assert.equal(pools().length, 1);
    });

    it('refuses a request for a sandbox if its address is taken', async () => {
      const taken = createServer().listen(0, '127.0.0.1');
      await once(taken, 'listening');
      open.push(() => taken.close());
      const { made } = connected({ listen: { host: '127.0.0.1', port: (taken.address() as AddressInfo).port } });
      await assert.rejects(made.create(spec('a')), is('server.address'));
      assert.deepEqual(pools(), []);
    });

    it('does not begin without the key that it was told to use', () => {
      assert.throws(() => connected({ key: folder }), is('config.invalid'));
    });
  });
});
