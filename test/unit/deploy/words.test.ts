import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { KatafleetError } from '../../../src/model/errors.ts';
import { containerWords, findCompose } from '../../../src/deploy/compose.ts';
import { deployedConfig } from '../../../src/deploy/config.ts';
import { logLines } from '../../../src/deploy/log-lines.ts';
import { noManager, type SwarmView } from '../../../src/deploy/manager.ts';
import { isUnderWay } from '../../../src/drivers/docker/task-states.ts';
import { hasFailed, taskHint, type TaskView, taskWords } from '../../../src/deploy/task-words.ts';
import { type Part, removalOrder } from '../../../src/deploy/undeploy.ts';

const task = (State: string, Err?: string, ExitCode?: number): TaskView => ({
  ID: 't',
  CreatedAt: '',
  DesiredState: 'running',
  NodeID: 'n',
  Status: { State, Err, ContainerStatus: ExitCode === undefined ? undefined : { ExitCode } },
});

describe('what becomes of a task is told in words', () => {
  const told: [TaskView, string, RegExp | undefined][] = [
    [task('new'), 'waits for the swarm', undefined],
    [task('pending'), 'waits for a node', undefined],
    [
      task('pending', 'no suitable node (host-mode port already in use on 1 node; scheduling constraints not satisfied on 2 nodes)'),
      'no node can take it: its port is used by another service on 1 node; its constraints are not met on 2 nodes',
      /--listen/,
    ],
    [
      task('pending', 'no suitable node (insufficient resources on 3 nodes)'),
      'no node can take it: too little memory or CPU left on 3 nodes',
      /KATAFLEET_MEMORY_RESERVED/,
    ],
    [task('preparing'), 'is being prepared on h1', undefined],
    [task('starting'), 'has started on h1, and is not healthy yet', undefined],
    [task('running'), 'is healthy on h1', undefined],
    [task('rejected', 'No such image: x:latest'), 'failed on h1: No such image: x:latest', /images build katafleet/],
    [task('failed', 'task: non-zero exit (78)', 78), 'failed on h1: it ended with 78', undefined],
    [
      task('failed', 'task: non-zero exit (143): dockerexec: unhealthy container', 143),
      'failed on h1: its health check did not succeed',
      undefined,
    ],
    [
      task('failed', 'starting container failed: listen tcp4 0.0.0.0:7420: bind: address already in use'),
      'failed on h1: its port is taken there (starting container failed: listen tcp4 0.0.0.0:7420: bind: address already in use)',
      /--listen/,
    ],
  ];
  for (const [one, words, hint] of told) {
    it(words, () => {
      assert.equal(taskWords(one, 'h1'), words);
      if (hint) assert.match(taskHint(one) ?? '', hint);
      else assert.equal(taskHint(one), undefined);
    });
  }

  it('tells a task under way from a failed one', () => {
    assert.deepEqual(
      ['new', 'running', 'complete', 'shutdown'].map((state) => isUnderWay(task(state).Status.State)),
      [true, true, false, false],
    );
    assert.deepEqual(
      ['running', 'failed', 'rejected', 'complete', 'shutdown'].map((state) => hasFailed(task(state))),
      [false, true, true, true, false],
    );
  });
});

describe('an engine that can deploy no stack of a swarm says why', () => {
  const why = (swarm: SwarmView | undefined, api = '1.41') => {
    const error = noManager(swarm, api, 'unix:///s');
    return error && `${error.code}: ${error.message} (${error.hint ?? ''})`;
  };
  it('by its state and its API', () => {
    const active = { LocalNodeState: 'active', ControlAvailable: true };
    assert.equal(why(active), undefined);
    assert.match(why(undefined) ?? '', /^swarm\.unavailable: .* is in no swarm \(create one by docker swarm init/);
    assert.match(why({ LocalNodeState: 'inactive' }) ?? '', /is in no swarm/);
    assert.match(why({ LocalNodeState: 'locked' }) ?? '', /in a locked swarm.*\(docker swarm unlock\)/);
    assert.match(why({ LocalNodeState: 'pending' }) ?? '', /is joining a swarm/);
    assert.match(why({ LocalNodeState: 'error', Error: 'no quorum' }) ?? '', /in a swarm with an error: no quorum/);
    const worker = { LocalNodeState: 'active', ControlAvailable: false, RemoteManagers: [{ Addr: '10.0.0.1:2377' }] };
    assert.match(why(worker) ?? '', /is a worker of its swarm.*--host with a manager: 10\.0\.0\.1\)/);
    assert.match(why(active, '1.40') ?? '', /speaks API 1\.40; .* need 1\.41/);
  });
});

describe('Compose', () => {
  it('is the plugin, else the program, else an error that says how to get it', () => {
    assert.equal(
      findCompose((command) => command === 'docker'),
      undefined,
    );
    assert.deepEqual(
      findCompose((command) => command === 'docker-compose'),
      { standalone: true },
    );
    const missing = (error: unknown) =>
      error instanceof KatafleetError && error.code === 'compose.missing' && /apt-get install docker-compose/.test(error.hint ?? '');
    assert.throws(() => findCompose(() => false), missing);
  });

  it("its container's state is told in words", () => {
    const state = (Status: string, more: object = {}) => ({ Status, ExitCode: 0, Error: '', ...more });
    const told = (of: ReturnType<typeof state>, restarts = 0) => {
      const { words, verdict } = containerWords(of, restarts);
      return `${verdict}: ${words}`;
    };
    assert.equal(told(state('running', { Health: { Status: 'healthy' } })), 'healthy: is healthy');
    assert.equal(told(state('running', { Health: { Status: 'starting' } })), 'waiting: has started, and is not healthy yet');
    assert.equal(
      told(state('running', { Health: { Status: 'starting' } }), 3),
      'failed: has started again (3 times so far), and is not healthy yet',
    );
    const sick = { Status: 'unhealthy', Log: [{ Output: 'one' }, { Output: 'two\n' }] };
    assert.equal(told(state('running', { Health: sick })), 'failed: is unhealthy: two');
    assert.equal(told(state('restarting', { ExitCode: 78 }), 1), 'waiting: ended with 78, and is started again (1 times so far)');
    assert.equal(told(state('restarting', { ExitCode: 78 }), 3), 'failed: ended with 78, and is started again (3 times so far)');
    assert.equal(told(state('created', { Error: 'port taken' })), 'failed: could not start: port taken');
    assert.equal(told(state('exited', { ExitCode: 1 })), 'failed: ended with 1');
  });

  it("an engine's log is read frame by frame, and one that is cut off to where it goes", () => {
    const frame = (text: string) => Buffer.concat([Buffer.from([1, 0, 0, 0, 0, 0, 0, Buffer.byteLength(text)]), Buffer.from(text)]);
    assert.deepEqual(logLines(Buffer.concat([frame('a\nb'), frame('c\n'), Buffer.from([1, 0, 0])])), ['a', 'bc']);
  });
});

describe('what is taken away', () => {
  it('goes in order: katafleet, its pools, and what they use last', () => {
    const part = (kind: Part['kind'], name: string, role?: string): Part => ({ kind, id: name, name, role });
    const parts = [
      part('volume', 'state'),
      part('network', 'tasks'),
      part('service', 'pool-b', 'pool'),
      part('config', 'c'),
      part('service', 'z', 'server'),
      part('secret', 's'),
      part('service', 'pool-a', 'pool'),
      part('container', 'x'),
    ];
    assert.deepEqual(
      removalOrder(parts).map(({ name }) => name),
      ['z', 'pool-a', 'pool-b', 'x', 's', 'c', 'tasks', 'state'],
    );
  });
});

describe('the configuration that is deployed', () => {
  let folder = '';
  before(() => (folder = mkdtempSync(join(tmpdir(), 'katafleet-deploy-'))));
  after(() => rmSync(folder, { recursive: true }));
  const of = (text: string, swarm?: { stack: string; dialPort?: number }) => {
    const file = join(folder, 'katafleet.yaml');
    writeFileSync(file, text);
    return deployedConfig({ file, env: {}, cwd: folder }, swarm);
  };

  it('is as it was given, and in a swarm told the stack, its network and its key', () => {
    const given = '# mine\nserver: { grace: 90s }\n';
    assert.deepEqual([of(given).text, of(given).graceMs], [given, 90_000]);
    const { text } = of(given, { stack: 'st' });
    assert.match(text, /^# mine\nserver: \{ grace: 90s \}\n/);
    assert.match(text, /swarm:\n {2}stack: st\n {2}network: st_tasks\n {2}key: \/run\/secrets\/katafleet_key\n$/);
    assert.equal(of(given, { stack: 'st', dialPort: 7421 }).text, text);
    assert.match(of(given, { stack: 'st', dialPort: 8421 }).text, /katafleet_key\n {2}published: 8421\n$/);
    assert.match(of('', { stack: 'st' }).text, /^swarm:\n {2}stack: st\n/);
  });

  it('keeps what it says of key and network, but is of the stack that it is deployed as', () => {
    const { text } = of('swarm: { stack: a, network: mine, key: /run/secrets/mine, dial: overlay }\n', { stack: 'st' });
    assert.equal(text, 'swarm: { stack: st, network: mine, key: /run/secrets/mine, dial: overlay }\n');
  });

  it('is another version as soon as it says something else, and no deployment if it is faulty', () => {
    assert.notEqual(of('pools: []\n').version, of('pools: [ ]\n').version);
    assert.equal(of('pools: []\n').version, of('pools: []\n').version);
    assert.throws(() => of('bogus: 1\n'), /katafleet\.yaml:1: bogus: unknown key/);
    assert.throws(
      () => of('swarm: 3\n', { stack: 'st' }),
      (error: unknown) => error instanceof KatafleetError && error.code === 'config.invalid',
    );
  });

  it('is one that comes with the stacks where there is none', () => {
    const env = { HOME: folder };
    const none = deployedConfig({ env, cwd: join(folder) + '/none' }, { stack: 'katafleet' });
    assert.match(none.file, /stacks\/katafleet\.swarm\.yaml$/);
    assert.match(none.text, /stack: katafleet\n {2}network: katafleet_tasks\n/);
    assert.match(deployedConfig({ env, cwd: join(folder) + '/none' }).file, /stacks\/katafleet\.compose\.yaml$/);
  });
});
