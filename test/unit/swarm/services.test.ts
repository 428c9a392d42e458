import assert from 'node:assert/strict';
import { KatafleetError } from '../../../src/model/errors.ts';
import { profileOf, sandboxLimits } from '../../../src/model/profile.ts';
import { EngineDriver } from '../../../src/drivers/engine/driver.ts';
import { SwarmKeys } from '../../../src/drivers/swarm/services/keys.ts';
import { Managers } from '../../../src/drivers/swarm/nodes/managers.ts';
import { shapeHash, type TaskShape } from '../../../src/drivers/swarm/services/service.ts';
import { secretName, Services, type ServicesOptions, type DesiredService } from '../../../src/drivers/swarm/services/services.ts';
import { StubSwarm } from '../../support/stub-swarm.ts';

const shape: TaskShape = {
  image: 'sha256:0123',
  architecture: 'amd64',
  volumes: [],
  limits: sandboxLimits(profileOf()),
  way: 'host',
  address: '10.0.0.7:7421',
  supervisor: 'abc',
  idleMs: 900_000,
  generation: '0',
  appArmor: false,
};
const next: TaskShape = { ...shape, generation: '1' };
const wanted = (more: Partial<DesiredService> = {}): DesiredService => ({
  name: 'pool',
  pool: '{}',
  shape,
  replicas: 2,
  excluded: [],
  ...more,
});
const keys = new SwarmKeys(Buffer.alloc(32, 7));
const [secret, nextSecret] = [secretName('pool', shapeHash(shape)), secretName('pool', shapeHash(next))];

describe('the services of a deployment, in a swarm', () => {
  let swarm: StubSwarm;
  let engine: EngineDriver;
  const services = (more: Partial<ServicesOptions> = {}) =>
    new Services({ managers: new Managers([engine]), keys, stack: 'k', instance: 'a', ...more });
  const replicas = () => (swarm.find('services', 'pool')?.Spec['Mode'] as { Replicated: { Replicas: number } }).Replicated.Replicas;

  beforeEach(async () => {
    swarm = await StubSwarm.start();
    engine = new EngineDriver({ endpoint: swarm.endpoint });
  });
  afterEach(async () => {
    engine.close();
    await swarm[Symbol.asyncDispose]();
  });

  it('are made with their secret and the supervisor, once', async () => {
    assert.equal(await services().apply(wanted()), 2);
    assert.deepEqual([swarm.names('services'), swarm.names('secrets'), replicas()], [['pool'], [secret], 2]);
    assert.match(swarm.names('configs').join(), /^k-supervisor-amd64-[0-9a-f]{12}$/);
    const changes = swarm.changes().length;
    assert.equal(await services().apply(wanted({ replicas: 3 })), 3);
    assert.deepEqual([swarm.changes().length, replicas()], [changes + 1, 3]);
    assert.equal(swarm.find('secrets', secret)?.Spec['Data'], keys.secret(secret).toString('base64'));
  });

  it('have our labels, and nothing of the caller', async () => {
    await services().apply(wanted());
    for (const kind of ['services', 'secrets', 'configs'] as const) {
      const [one] = swarm.kept[kind].values();
      assert.deepEqual([one?.Spec.Labels?.['katafleet.stack'], one?.Spec.Labels?.['katafleet.key']], ['k', keys.id]);
    }
  });

  it('never have a secret in an address', async () => {
    await services().apply(wanted());
    const bytes = keys.secret(secret);
    for (const { url } of swarm.asked)
      for (const form of ['base64', 'hex', 'base64url'] as const)
        assert.ok(!decodeURIComponent(url).includes(bytes.toString(form)) && !url.includes('Data'), url);
  });

  it('are not made without a wanted replica or a known shape', async () => {
    assert.equal(await services().apply(wanted({ replicas: 0 })), 0);
    assert.equal(await services().apply(wanted({ shape: undefined })), 0);
    assert.deepEqual(swarm.changes(), []);
  });

  it('keep all that was in their spec when only the number changes', async () => {
    await services().apply(wanted());
    const there = swarm.find('services', 'pool');
    assert.ok(there);
    swarm.touch(there, { RollbackConfig: { Parallelism: 7 }, Labels: { ...there.Spec.Labels, mine: 'too' } });
    const before = structuredClone(there.Spec['TaskTemplate']);
    await services().apply(wanted({ replicas: 5 }));
    const { Spec } = swarm.find('services', 'pool') ?? { Spec: {} as never };
    assert.deepEqual([Spec['RollbackConfig'], Spec.Labels?.['mine'], replicas()], [{ Parallelism: 7 }, 'too', 5]);
    assert.deepEqual(Spec['TaskTemplate'], before);
  });

  it('keep to the machines that runs ask for, whatever else changes', async () => {
    const bound = { ...shape, limits: { ...shape.limits, machines: ['gpu==yes'] } };
    await services().apply(wanted({ shape: bound }));
    const constraints = () =>
      (swarm.find('services', 'pool')?.Spec['TaskTemplate'] as { Placement: { Constraints: string[] } }).Placement.Constraints;
    assert.deepEqual(constraints(), ['node.labels.gpu==yes']);
    await services().apply(wanted({ shape: bound, replicas: 5 }));
    assert.deepEqual(constraints(), ['node.labels.gpu==yes']);
    await services().apply(wanted({ shape: bound, replicas: 5, excluded: ['n9'] }));
    assert.deepEqual(constraints(), ['node.id!=n9', 'node.labels.gpu==yes']);
  });

  it('keep their tasks unchanged if the shape is unknown', async () => {
    await services().apply(wanted());
    const before = structuredClone(swarm.find('services', 'pool')?.Spec['TaskTemplate']);
    await services().apply(wanted({ shape: undefined, replicas: 1, excluded: ['n9'] }));
    assert.deepEqual([swarm.find('services', 'pool')?.Spec['TaskTemplate'], replicas()], [before, 1]);
  });

  it('are changed even if others change them first, again and again', async () => {
    await services().apply(wanted());
    const there = swarm.find('services', 'pool');
    let quicker = 3;
    swarm.before = ({ url }) => {
      if (there && url.includes('/update') && (quicker -= 1) >= 0) swarm.touch(there);
      return undefined;
    };
    await services().apply(wanted({ replicas: 9 }));
    assert.deepEqual([quicker, replicas()], [-1, 9]);
  });

  it('fail if others always change them first', async () => {
    await services().apply(wanted());
    swarm.before = ({ url }) => (url.includes('/update') ? [500, 'rpc error: code = Unknown desc = update out of sequence'] : undefined);
    await assert.rejects(services().apply(wanted({ replicas: 9 })), /update out of sequence/);
    assert.equal(swarm.asked.filter(({ url }) => url.includes('/update')).length, 8);
  });

  it('are shared by two that make them at once: each number is in the sum', async () => {
    const [a, b] = [services(), services({ instance: 'b' })];
    await Promise.all([a.apply(wanted({ replicas: 2 })), b.apply(wanted({ replicas: 3 }))]);
    assert.equal(replicas(), 5);
    assert.deepEqual([swarm.names('services'), swarm.names('secrets')], [['pool'], [secret]]);
  });

  it('get a new secret with a new shape; the former one is removed, and those of others stay', async () => {
    await services().apply(wanted());
    await services().apply(wanted({ name: 'pool-2' }));
    await services().apply(wanted({ shape: next }));
    assert.deepEqual(swarm.names('secrets'), [nextSecret, secretName('pool-2', shapeHash(shape))].sort());
  });

  it('are changed even if the former secret is still in use or is removed', async () => {
    await services().apply(wanted());
    swarm.before = ({ method, url }) =>
      method === 'DELETE' && url.startsWith('/secrets') ? [400, `secret '${secret}' is in use by the following service: x`] : undefined;
    await services().apply(wanted({ shape: next }));
    assert.deepEqual(swarm.names('secrets'), [secret, nextSecret].sort());
    swarm.before = ({ method, url }) => (method === 'DELETE' && url.startsWith('/secrets') ? [404, 'secret not found'] : undefined);
    await services().apply(wanted({ shape: { ...shape, generation: '2' } }));
  });

  it('are made even if others remove their secret meanwhile', async () => {
    let taken = 0;
    swarm.before = ({ url }) => {
      if (url === '/services/create' && (taken += 1) === 1) swarm.kept.secrets.clear();
      return undefined;
    };
    await services().apply(wanted());
    assert.deepEqual([taken, swarm.names('secrets'), swarm.names('services')], [2, [secret], ['pool']]);
  });

  it('say what the swarm does not take, and try it once', async () => {
    swarm.before = ({ url }) => (url === '/services/create' ? [400, 'invalid reference format'] : undefined);
    await assert.rejects(services().apply(wanted()), (error) => error instanceof KatafleetError && error.code === 'engine.failed');
    assert.equal(swarm.asked.filter(({ url }) => url === '/services/create').length, 1);
  });

  it('are on an overlay of ours that leads nowhere, where the shape says so', async () => {
    await services().apply(wanted({ shape: { ...shape, way: 'overlay' } }));
    await services().apply(wanted({ name: 'other', shape: { ...shape, way: 'overlay' } }));
    const [network, ...more] = swarm.kept.networks.values();
    assert.deepEqual([network?.Spec.Name, network?.Spec['Driver'], network?.Spec['Internal'], more], ['k_tasks', 'overlay', true, []]);
    const { Networks } = swarm.find('services', 'other')?.Spec['TaskTemplate'] as { Networks: object[] };
    assert.deepEqual(Networks, [{ Target: network?.ID }]);
  });

  it('are removed with their secrets; missing ones are no error', async () => {
    await services().apply(wanted());
    await services().apply(wanted({ name: 'other' }));
    await services().remove('pool');
    await services().remove('pool');
    assert.deepEqual([swarm.names('services'), swarm.names('secrets')], [['other'], [secretName('other', shapeHash(shape))]]);
  });

  it('leave what they share until nothing uses it', async () => {
    const all = services();
    await all.apply(wanted({ shape: { ...shape, way: 'overlay' } }));
    await all.removeShared();
    assert.deepEqual([swarm.names('configs').length, swarm.names('networks').length], [1, 1]);
    await all.remove('pool');
    await all.removeShared('another key');
    assert.equal(swarm.names('configs').length, 1);
    await all.removeShared();
    assert.deepEqual([swarm.names('configs'), swarm.names('networks')], [[], []]);
  });

  it('of ephemeral processes share no objects with those of others', async () => {
    const one = services({ ephemeral: { x: 'y' } });
    const other = services({ ephemeral: { x: 'z' }, keys: SwarmKeys.ephemeral() });
    await one.apply(wanted({ name: 'one' }));
    await other.apply(wanted({ name: 'other' }));
    assert.equal(swarm.names('configs').length, 2);
    await one.remove('one');
    await one.removeShared();
    assert.equal(swarm.names('configs').length, 1);
  });
});
