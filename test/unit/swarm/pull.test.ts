import assert from 'node:assert/strict';
import { EngineDriver } from '../../../src/drivers/engine/driver.ts';
import { SwarmKeys } from '../../../src/drivers/swarm/services/keys.ts';
import { Managers } from '../../../src/drivers/swarm/nodes/managers.ts';
import { pullEverywhere } from '../../../src/drivers/swarm/nodes/pull.ts';
import { Services } from '../../../src/drivers/swarm/services/services.ts';
import { StubSwarm } from '../../support/stub-swarm.ts';

describe('a job that has every node pull an image', () => {
  let swarms: [StubSwarm, StubSwarm];
  let engines: [EngineDriver, EngineDriver];
  let abort: AbortController;
  const pull = () => {
    const managers = new Managers(engines);
    const services = new Services({ managers, keys: SwarmKeys.ephemeral(), stack: 'k', instance: 'a' });
    return pullEverywhere(managers, services, 'r/x@sha256:0123', 'amd64', abort.signal);
  };
  const task = (node: string, state: string) => ({ ID: `t-${node}`, NodeID: node, DesiredState: 'complete', Status: { State: state } });
  /** What its tasks are, each time that somebody asks. */
  const script = (swarm: StubSwarm, ...answers: object[][]) => {
    swarm.before = ({ url }) => {
      const [job] = swarm.names('services');
      if (url.startsWith('/tasks') && job !== undefined) swarm.tasks[job] = answers.shift() ?? swarm.tasks[job] ?? [];
      return undefined;
    };
  };

  beforeEach(async () => {
    swarms = [await StubSwarm.start(), await StubSwarm.start()];
    engines = [new EngineDriver({ endpoint: swarms[0].endpoint }), new EngineDriver({ endpoint: swarms[1].endpoint })];
    abort = new AbortController();
  });
  afterEach(async () => {
    for (const engine of engines) engine.close();
    for (const swarm of swarms) await swarm[Symbol.asyncDispose]();
  });

  it('waits for all nodes, returns those that failed, and is removed', async () => {
    const [swarm] = swarms;
    let spec: object | undefined;
    script(
      swarm,
      [],
      [task('n1', 'preparing'), task('n2', 'complete')],
      [task('n1', 'complete'), task('n2', 'complete'), task('n3', 'rejected'), task('n4', 'failed')],
    );
    const { before } = swarm;
    swarm.before = (asked) => {
      if (asked.url === '/services/create') spec = asked.body as object;
      return before(asked);
    };
    assert.deepEqual(await pull(), ['n3', 'n4']);
    assert.deepEqual(swarm.names('services'), []);
    const { Mode, Labels, TaskTemplate } = spec as {
      Mode: object;
      Labels: Record<string, string>;
      TaskTemplate: { ContainerSpec: { Dir?: string } };
    };
    assert.deepEqual([Mode, Labels['katafleet.role']], [{ GlobalJob: {} }, 'probe']);
    assert.equal(TaskTemplate.ContainerSpec.Dir, '/', 'not the folder that the image names');
  });

  it('is removed when its caller aborts, and no other manager is asked for another', async () => {
    script(swarms[0], [task('n1', 'preparing')]);
    const pulling = pull();
    while (swarms[0].asked.every(({ url }) => !url.startsWith('/tasks'))) await new Promise((resolve) => setImmediate(resolve));
    const reason = new Error('closed');
    abort.abort(reason);
    await assert.rejects(pulling, (error) => error === reason || (error as Error).name === 'AbortError');
    assert.deepEqual([swarms[0].names('services'), swarms[1].asked], [[], []]);
  });

  it('is not made if its caller has aborted', async () => {
    abort.abort(new Error('closed'));
    await assert.rejects(pull(), /closed/);
    assert.deepEqual(swarms[0].asked, []);
  });

  it('is one job even if its manager fails meanwhile: another manager reports on it and removes it', async () => {
    const [first, second] = swarms;
    // Both are of one swarm.
    Object.assign(second, { kept: first.kept });
    script(second, [task('n1', 'complete')]);
    first.before = ({ url }) =>
      url.startsWith('/tasks') ? [500, 'rpc error: code = Unknown desc = The swarm does not have a leader.'] : undefined;
    assert.deepEqual(await pull(), []);
    assert.deepEqual(first.names('services'), []);
    const created = swarms.flatMap(({ asked }) => asked).filter(({ url }) => url === '/services/create');
    assert.equal(created.length, 1);
  });
});
