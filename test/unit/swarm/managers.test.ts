import assert from 'node:assert/strict';
import { z } from 'zod';
import { KatafleetError } from '../../../src/model/errors.ts';
import { EngineDriver } from '../../../src/drivers/engine/driver.ts';
import { Managers } from '../../../src/drivers/swarm/nodes/managers.ts';
import { setAvailability, swarmFingerprint, swarmNodes } from '../../../src/drivers/swarm/nodes/nodes.ts';
import { fakeFingerprint } from '../../support/fake-driver.ts';
import { StubSwarm, stubNode } from '../../support/stub-swarm.ts';

const is = (code: string) => (error: unknown) => error instanceof KatafleetError && error.code === code;
const words = {
  'swarm.leaderless': [
    500,
    'rpc error: code = Unknown desc = The swarm does not have a leader. It is possible that too few managers are online.',
  ],
  'swarm.no_manager': [503, 'This node is not a swarm manager. Worker nodes can’t be used to view or modify cluster state.'],
  'swarm.locked': [
    503,
    'Swarm is encrypted and needs to be unlocked before it can be used. Please use "docker swarm unlock" to unlock it.',
  ],
} as const;
const unavailable = 'rpc error: code = Unavailable desc = connection error: desc = "transport: Error while dialing"';

describe('the managers of a swarm', () => {
  let swarms: [StubSwarm, StubSwarm, StubSwarm];
  let engines: [EngineDriver, EngineDriver, EngineDriver];
  const asked = () => swarms.map((swarm) => swarm.asked.length);
  const list = (managers: Managers) => managers.do('list', (docker) => docker.listServices());
  const engine = ({ endpoint }: StubSwarm) => new EngineDriver({ endpoint });

  beforeEach(async () => {
    swarms = [await StubSwarm.start(), await StubSwarm.start(), await StubSwarm.start()];
    engines = [engine(swarms[0]), engine(swarms[1]), engine(swarms[2])];
  });
  afterEach(async () => {
    for (const one of engines) one.close();
    for (const swarm of swarms) await swarm[Symbol.asyncDispose]();
  });

  it('are asked one at a time: the first, as long as it answers', async () => {
    const managers = new Managers(engines);
    await list(managers);
    await list(managers);
    assert.deepEqual(asked(), [2, 0, 0]);
  });

  for (const [code, fault] of Object.entries(words)) {
    it(`asks another manager from then on if one reports ${code}, and the first one again if that one fails`, async () => {
      const managers = new Managers([engines[0], engines[1]]);
      swarms[0].before = () => [...fault];
      await list(managers);
      await list(managers);
      assert.deepEqual(asked(), [1, 2, 0]);
      swarms[0].before = () => undefined;
      swarms[1].before = () => [...fault];
      await list(managers);
      assert.equal(managers.current, engines[0]);
    });

    it(`fails with ${code} if all report it, after asking each once`, async () => {
      for (const swarm of swarms) swarm.before = () => [...fault];
      await assert.rejects(list(new Managers(engines)), is(code));
      assert.deepEqual(asked(), [1, 1, 1]);
    });
  }

  it('skips one that does not answer; another’s own error goes first', async () => {
    const managers = new Managers(engines);
    await swarms[0][Symbol.asyncDispose]();
    swarms[1].before = () => [...words['swarm.leaderless']];
    await list(managers);
    assert.equal(managers.current, engines[2]);
    await swarms[2][Symbol.asyncDispose]();
    await assert.rejects(list(managers), is('swarm.leaderless'));
  });

  it('one that takes the call and does not answer is given up', async () => {
    const managers = new Managers(engines, 2_000);
    swarms[0].before = () => 'hang';
    await list(managers);
    assert.deepEqual(asked(), [1, 1, 0]);
  });

  it('aborts the signal of a body that takes too long', async () => {
    const managers = new Managers([engines[0]], 50);
    let given: AbortSignal | undefined;
    const work = managers.do('wait', (_docker, _api, signal) => {
      given = signal;
      return new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));
    });
    await assert.rejects(work, is('engine.timeout'));
    assert.equal(given?.aborted, true);
  });

  it('when looks at the first fail by their own deadline, the next look begins with another', async () => {
    const managers = new Managers([engines[0], engines[1]]);
    const ping = async (signal: AbortSignal) =>
      managers.ask((one) => {
        if (signal.aborted) throw new KatafleetError('engine.timeout', 'late');
        return Promise.resolve(one);
      });
    await assert.rejects(ping(AbortSignal.abort()), is('engine.timeout'));
    assert.equal(await ping(new AbortController().signal), engines[1]);
  });

  it('asks no other manager if the error would be the same', async () => {
    swarms[0].before = () => [400, 'invalid reference format'];
    await assert.rejects(list(new Managers(engines)), is('engine.failed'));
    assert.deepEqual(asked(), [1, 0, 0]);
  });

  it('an unreachable leader counts as none; similar messages do not', async () => {
    const managers = new Managers([engines[0]]);
    for (const [said, code] of [
      [unavailable, 'swarm.leaderless'],
      ['rpc error: code = DeadlineExceeded desc = context deadline exceeded', 'swarm.leaderless'],
      ['invalid image reference "craft/blocked"', 'engine.failed'],
    ] as const) {
      swarms[0].before = () => [500, said];
      await assert.rejects(list(managers), is(code));
    }
  });

  it('an answer that can’t be read is no engine that does not answer', async () => {
    const managers = new Managers(engines);
    await assert.rejects(
      managers.do('read', () => Promise.resolve(z.array(z.string()).parse({ no: 'list' }))),
      is('engine.failed'),
    );
    assert.equal(managers.current, engines[0]);
  });

  it('say which nodes there are, and what they are together', async () => {
    swarms[0].nodes = [
      stubNode('b', { ManagerStatus: null }),
      stubNode('a'),
      stubNode('c', { Status: { State: 'down', Message: 'heartbeat failure' } }),
    ];
    const nodes = await swarmNodes(new Managers([engines[0]]));
    assert.deepEqual(
      nodes.map(({ id, name, leader, state, message }) => [id, name, leader, state, message]),
      [
        ['a', 'host-a', true, 'ready', ''],
        ['b', 'host-b', false, 'ready', ''],
        ['c', 'host-c', true, 'down', 'heartbeat failure'],
      ],
    );
    const { cpus, memory, largest } = swarmFingerprint(fakeFingerprint, nodes);
    assert.deepEqual([cpus, memory, largest], [4, 16e9, { cpus: 2, memory: 8e9 }]);
  });

  it('do not know a node of another swarm', async () => {
    await assert.rejects(setAvailability(new Managers([engines[0]]), 'x', 'drain'), is('node.unknown'));
  });
});
