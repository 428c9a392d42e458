import assert from 'node:assert/strict';
import { eventually } from '../support/eventually.ts';
import { forSeconds } from '../support/fleet.ts';
import { type RunAnswer, Service } from '../support/service.ts';
import { Testbed, type Verb } from '../support/testbed.ts';

const runs = 500;
const atOnce = 8;
/** Runs that take long; the node on which each is met is then broken, so that it is lost there for certain. */
const victims = [
  { index: 100, blow: 'kill-engine', mend: 'start-engine' },
  { index: 180, blow: 'freeze', mend: 'thaw' },
  { index: 260, blow: 'cut', mend: 'heal' },
] as const;
const mendAt = 420;

const request = (index: number) => ({
  image: 'build-essential',
  profile: 'small',
  files: { 'in.txt': `given ${index}` },
  command: [
    'bash',
    '-c',
    `cat in.txt; echo " ${index}"; echo made ${index} > out.txt; ${victims.some((v) => v.index === index) ? forSeconds(25) : 'sleep 0.1'}`,
  ],
});

describe('four engines, 500 runs, 8 at once', function () {
  this.timeout(600_000);
  let bed: Testbed;
  let katafleet: Service;
  const broken = new Map<string, Verb>();
  const answers: RunAnswer[] = [];

  before(async () => {
    bed = await Testbed.up({ hosts: 4 });
    katafleet = await Service.start({
      nodes: bed.hosts.map((name) => ({ name, endpoint: bed.endpoint(name) })),
      profiles: { small: { memory: '64m', wallMs: '60s' } },
      pools: [{ image: 'build-essential', profile: 'small', idle: { min: 8, max: 16 } }],
      health: { interval: '500ms', timeout: '1500ms', failures: 3, successes: 2 },
      retries: { attempts: 5 },
      reaping: { grace: '2s' },
    });
    await eventually('all nodes ready', 60, async () => {
      const nodes = await katafleet.nodes();
      for (const host of bed.hosts) assert.equal(nodes[host]?.state, 'ready', host);
    });
  });
  after(async () => {
    await katafleet?.[Symbol.asyncDispose]();
    await bed?.down();
  });
  afterEach(function () {
    if (this.currentTest?.state === 'failed') console.error(katafleet.log);
  });

  /** The node on which a run is under way now, other than those that are broken already. */
  const nodeOf = (id: string) =>
    eventually('a long run on a node that is whole', 60, async () => {
      const { attempts } = await katafleet.call<RunAnswer>('GET', `/v1/runs/${id}`);
      const last = attempts.at(-1);
      assert.ok(last?.state === 'running' && !broken.has(last.node), JSON.stringify(attempts));
      return last.node;
    });

  it('each has its own one result, though an engine is killed, a host freezes and another is cut off', async () => {
    const begun = performance.now();
    const blows: Promise<void>[] = [];
    const strike = async (id: string, { blow, mend }: (typeof victims)[number]) => {
      const node = await nodeOf(id);
      broken.set(node, mend);
      await bed.do(blow, node);
      await eventually(`the run during ${blow} is lost`, 60, async () => {
        const { attempts } = await katafleet.call<RunAnswer>('GET', `/v1/runs/${id}`);
        assert.ok(attempts.length > 1, JSON.stringify(attempts));
      });
    };
    const mendAll = async () => {
      await Promise.all(blows);
      for (const [node, mend] of broken) await bed.do(mend, node);
    };
    let mended: Promise<void> | undefined;
    let next = 0;
    const client = async () => {
      for (let index = (next += 1) - 1; index < runs; index = (next += 1) - 1) {
        const accepted = await katafleet.call<RunAnswer>('POST', '/v1/runs', request(index));
        const victim = victims.find((candidate) => candidate.index === index);
        if (victim) blows.push(strike(accepted.id, victim));
        if (index === mendAt) mended = mendAll();
        answers[index] = await katafleet.ended(accepted);
      }
    };
    await Promise.all(Array.from({ length: atOnce }, client));
    await mended;
    const retried = answers.filter(({ attempts }) => attempts.length > 1);
    const seconds = ((performance.now() - begun) / 1000).toFixed(0);
    console.log(`      ${runs} runs in ${seconds} s, ${retried.length} of them tried again; broken were ${[...broken.keys()].join(', ')}`);

    assert.equal(broken.size, 3);
    for (const [index, { state, result, attempts, error }] of answers.entries()) {
      const about = `run ${index}: ${JSON.stringify({ state, attempts, error })}`;
      assert.equal(state, 'finished', about);
      assert.deepEqual(result?.outcome, { kind: 'exited', code: 0 }, about);
      assert.equal(result.steps[0]?.stdout, `given ${index} ${index}\n`, about);
      assert.deepEqual(
        result.changes.files.map(({ path, content }) => [path, content]),
        [['out.txt', `made ${index}\n`]],
      );
      assert.deepEqual(
        attempts.map(({ number, state }) => [number, state]),
        attempts.map((_, at) => [at + 1, at + 1 === attempts.length ? 'accepted' : 'lost']),
        about,
      );
      assert.deepEqual([result.attempt, result.node], [attempts.length, attempts.at(-1)?.node], about);
      for (const attempt of attempts.slice(0, -1)) assert.ok(broken.has(attempt.node), about);
    }
    for (const { index, blow } of victims) assert.ok((answers[index]?.attempts.length ?? 0) > 1, `the run during ${blow} was lost`);
    assert.equal(new Set(answers.map(({ id }) => id)).size, runs);
  });

  it('the broken nodes come back by themselves, and only idle sandboxes are left', async () => {
    await eventually('all nodes back', 60, async () => {
      const nodes = await katafleet.nodes();
      for (const host of bed.hosts) assert.equal(nodes[host]?.state, 'ready', JSON.stringify(nodes[host]));
    });
    const served = await Promise.all(bed.hosts.map(() => katafleet.run(request(0))));
    assert.ok(served.every(({ state }) => state === 'finished'));
    await eventually('nothing left over', 60, async () => {
      const nodes = await katafleet.nodes();
      for (const host of bed.hosts) {
        const { idle = 0, busy } = nodes[host]?.sandboxes ?? {};
        assert.deepEqual([host, busy, (await bed.containers(host)).length], [host, 0, idle]);
      }
    });
    const { runs: all, counts } = await katafleet.call<{ runs: object[]; counts: Record<string, number> }>('GET', '/v1/runs?limit=1000');
    assert.deepEqual([all.length, counts['finished']], [runs + served.length, runs + served.length]);
  });

  it('ends on SIGTERM and leaves no container behind', async () => {
    assert.equal(await katafleet.stop(), 0);
    for (const host of bed.hosts) assert.deepEqual(await bed.containers(host), [], host);
  });
});
