import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { command } from '../support/command.ts';
import { eventually } from '../support/eventually.ts';
import { type RunAnswer, Service } from '../support/service.ts';
import { nodes, services } from '../support/swarm.ts';
import { Testbed, type Verb } from '../support/testbed.ts';

const atOnce = 8;
const idle = 6;
/** How long a run lasts: longer than it takes to break a machine that was just seen to execute one. */
const seconds = 1.6;
const project = fileURLToPath(new URL('../../', import.meta.url));
const execute = promisify(execFile);

const request = (index: number, lasts = seconds) => ({
  image: 'build-essential',
  profile: 'small',
  files: { 'in.txt': `given ${index}` },
  command: ['bash', '-c', `cat in.txt; echo made ${index} > out.txt; sleep ${lasts}`],
});

describe('a swarm that breaks under katafleet', function () {
  this.timeout(600_000);
  let bed: Testbed;
  let katafleet: Service;

  before(async () => {
    bed = await Testbed.up({ hosts: 3, managers: 1 });
    katafleet = await Service.start({
      nodes: [{ name: 'swarm', endpoint: bed.endpoint('h1') }],
      profiles: { small: { memory: '64m' } },
      pools: [{ image: 'build-essential', profile: 'small', idle: { min: idle, max: idle } }],
      health: { interval: '500ms', timeout: '1500ms', failures: 3, successes: 1 },
      retries: { attempts: 6 },
      swarm: { listen: `${bed.server}:7421`, key: 'swarm.key' },
    });
    await waits();
  });
  after(async () => {
    await katafleet?.[Symbol.asyncDispose]();
    await bed?.down();
  });
  afterEach(function () {
    if (this.currentTest?.state === 'failed') console.error(katafleet.log);
  });

  const waits = () =>
    eventually('the pool is full', 60, async () => {
      const { swarm } = await katafleet.nodes();
      assert.deepEqual([swarm?.state, swarm?.driver, swarm?.sandboxes], ['ready', 'swarm', { idle, busy: 0 }], JSON.stringify(swarm));
    });
  /** A worker that executes runs: what comes next meets them. */
  const victim = () =>
    eventually('a worker executes a run', 60, async () => {
      const { swarm } = await katafleet.nodes();
      const met = swarm?.members?.find(({ role, sandboxes }) => role === 'worker' && sandboxes.busy > 0);
      assert.ok(met, JSON.stringify(swarm?.members));
      return met.name;
    });
  /** The swarm has seen it, too: by then we have long known. */
  const givenUp = (host: string) =>
    eventually(`${host} is down`, 60, async () => {
      const { [host]: state } = await nodes(bed);
      assert.match(state ?? '', /^Down /);
    });
  /** Ids of the tasks that run now, by the swarm's word. */
  const tasks = async (): Promise<string[]> => {
    const services = (await bed.docker('h1', 'service', 'ls', '--quiet', '--filter', 'label=katafleet.role=pool')).trim();
    const format = '{{.ID}} {{.CurrentState}}';
    const lines = await bed.docker('h1', 'service', 'ps', '--no-trunc', '--format', format, '--filter', 'desired-state=running', services);
    return lines
      .split('\n')
      .filter((line) => / Running /.test(line))
      .map((line) => line.split(' ', 1)[0] ?? '')
      .sort();
  };
  /** What carries our label in the swarm, by kind. */
  const ours = async () => {
    const label = ['--quiet', '--filter', 'label=katafleet.stack=katafleet'];
    const kinds = ['service', 'secret', 'config', 'network'];
    const found = await Promise.all(kinds.map((kind) => bed.docker('h1', kind, 'ls', ...label)));
    return Object.fromEntries(kinds.map((kind, at) => [kind, found[at]?.split('\n').filter((line) => line !== '').length]));
  };

  it('each run has its own one result, though workers freeze, are cut off and lose power, and the manager restarts', async () => {
    const answers: RunAnswer[] = [];
    let [begun, ended] = [0, 0];
    let over = false;
    const client = async () => {
      while (!over) {
        const index = (begun += 1) - 1;
        answers[index] = await katafleet.run(request(index));
        ended += 1;
      }
    };
    const more = (count: number) => {
      const enough = ended + count;
      return eventually(`${count} more runs have ended`, 60, () => {
        assert.ok(ended >= enough);
        return Promise.resolve();
      });
    };
    const struck = async (blow: Verb, mend: Verb) => {
      const host = await victim();
      await bed.do(blow, host);
      await givenUp(host);
      await bed.do(mend, host);
      await eventually(`${host} is back`, 60, async () => assert.match((await nodes(bed))[host] ?? '', /^Ready /));
      await more(10);
    };
    const restarted = async (host: string) => {
      await bed.do('kill-engine', host);
      await more(2);
      await bed.do('start-engine', host);
      await more(10);
    };
    const blows = async () => {
      await struck('freeze', 'thaw');
      await struck('cut', 'heal');
      await restarted('h2');
      await restarted('h1');
      await struck('kill', 'start');
    };
    const clients = Array.from({ length: atOnce }, client);
    try {
      await more(10);
      await blows();
    } finally {
      over = true;
      await Promise.all(clients);
    }
    for (const [index, answer] of answers.entries()) {
      const about = `run ${index}: ${JSON.stringify({ ...answer, result: answer.result?.outcome })}`;
      assert.deepEqual([answer.state, answer.result?.outcome], ['finished', { kind: 'exited', code: 0 }], about);
      assert.equal(answer.result?.steps[0]?.stdout, `given ${index}`, about);
      assert.deepEqual(
        answer.attempts.map(({ state }) => state),
        answer.attempts.map((_, at) => (at + 1 === answer.attempts.length ? 'accepted' : 'lost')),
        about,
      );
    }
    const again = answers.filter(({ attempts }) => attempts.length > 1).length;
    assert.ok(again >= 3, `${again} were lost with their machine`);
    console.log(`      ${answers.length} runs, ${again} of them tried again`);
  });

  it('a killed katafleet’s idle tasks serve the next one', async () => {
    await waits();
    await eventually('the swarm has settled', 60, async () => assert.ok((await tasks()).length >= idle));
    const before = await tasks();
    const long = await katafleet.call<RunAnswer>('POST', '/v1/runs', request(1000, 2));
    await katafleet.kill();
    const waiting = await tasks();
    await katafleet.start();
    const { state, result } = await katafleet.ended(long);
    assert.deepEqual([state, result?.outcome], ['finished', { kind: 'exited', code: 0 }]);
    await waits();
    const now = await tasks();
    const kept = waiting.filter((task) => now.includes(task));
    assert.ok(kept.length >= idle - 2, `of ${before.length} tasks ${kept.length} are the same`);
  });

  it('SIGTERM leaves the pools to the next; undeploy leaves nothing', async () => {
    assert.equal(await katafleet.stop(), 0);
    const left = await ours();
    const pools = await services(bed);
    assert.ok(
      pools.some(({ replicas }) => replicas >= idle),
      JSON.stringify(pools),
    );
    assert.ok((left['service'] ?? 0) > 0 && (left['secret'] ?? 0) > 0 && (left['config'] ?? 0) > 0, JSON.stringify(left));
    await execute(command[0], [...command.slice(1), '--host', bed.endpoint('h1'), 'undeploy'], { cwd: project, timeout: 100_000 });
    assert.deepEqual(await ours(), { service: 0, secret: 0, config: 0, network: 0 });
    for (const host of bed.hosts) {
      const running = await bed.docker(host, 'ps', '--quiet', '--filter', 'label=katafleet.stack=katafleet');
      assert.equal(running, '', host);
    }
  });
});
