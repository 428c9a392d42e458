import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { eventually } from '../support/eventually.ts';
import { ApiError, type RunAnswer, Service } from '../support/service.ts';
import { Testbed } from '../support/testbed.ts';

const kills = 20;
const atOnce = 8;
/** What is accepted while katafleet lives from one kill to the next, at least. */
const acceptedBetween = 4;

const request = (index: number) => ({
  image: 'build-essential',
  profile: 'small',
  files: { 'in.txt': `given ${index}` },
  command: ['bash', '-c', `cat in.txt; sleep ${index % 3 === 0 ? 1 : 0.1}`],
});

describe('kill -9 of katafleet, 20 times under load', function () {
  this.timeout(600_000);
  let bed: Testbed;
  let katafleet: Service;
  before(async () => {
    bed = await Testbed.up({ hosts: 2 });
    katafleet = await Service.start({
      nodes: bed.hosts.map((name) => ({ name, endpoint: bed.endpoint(name) })),
      profiles: { small: { memory: '64m' } },
      pools: [{ image: 'build-essential', profile: 'small', idle: { min: 2, max: 4 } }],
      reaping: { grace: '2s' },
      // A run in which katafleet died so often is taken for what ended it; here it is not the runs that do.
      retries: { attempts: 20 },
    });
  });
  after(async () => {
    await katafleet?.[Symbol.asyncDispose]();
    await bed?.down();
  });
  afterEach(function () {
    if (this.currentTest?.state === 'failed') console.error(katafleet.log);
  });

  /** Ids by index, as they were accepted; and what each client was told at the end of its run. */
  const ids: string[] = [];
  const told: RunAnswer[] = [];
  let over = false;

  /** What a client does that wants its answer whatever happens: the same key, again and again. */
  async function insist(index: number): Promise<RunAnswer> {
    for (let tries = 0; tries < 2_000; tries += 1) {
      try {
        const answer = await katafleet.call<RunAnswer>('POST', '/v1/runs?wait=30', request(index), { 'idempotency-key': `run ${index}` });
        assert.ok(ids[index] === undefined || ids[index] === answer.id, `run ${index} was accepted twice: ${ids[index]}, ${answer.id}`);
        ids[index] = answer.id;
        if (answer.endedAt !== undefined) return answer;
      } catch (error) {
        if (error instanceof ApiError && error.status !== 503) throw error;
        if (!(error instanceof ApiError) && !(error instanceof TypeError)) throw error;
        await sleep(50); // nobody listens, between a kill and the next start
      }
    }
    throw new Error(`run ${index} had no answer in 2,000 tries`);
  }

  it('every run that a client insists on ends with one result, and none is run again after that', async () => {
    const begun = performance.now();
    let next = 0;
    const client = async () => {
      while (!over) {
        const index = (next += 1) - 1;
        told[index] = await insist(index);
      }
    };
    const clients = Promise.all(Array.from({ length: atOnce }, client));
    clients.catch(() => (over = true));
    let [retried, seen] = [0, 0];
    for (let kill = 0; kill < kills && !over; kill += 1) {
      await eventually('runs are accepted, and some are under way', 60, async () => {
        const { counts } = await katafleet.call<{ counts: Record<string, number> }>('GET', '/v1/runs?limit=1');
        const all = Object.values(counts).reduce((sum, count) => sum + count, 0);
        assert.ok((counts['running'] ?? 0) > 0 && all >= seen + acceptedBetween, JSON.stringify(counts));
        seen = all;
      });
      await katafleet.kill();
      await katafleet.start();
    }
    over = true;
    await clients;

    for (const [index, first] of told.entries()) {
      const now = await katafleet.call<RunAnswer>('GET', `/v1/runs/${first.id}`);
      const about = `run ${index}: ${JSON.stringify({ ...now, result: undefined })}`;
      assert.equal(now.state, 'finished', about);
      assert.equal(now.result?.steps[0]?.stdout, `given ${index}`, about);
      assert.deepEqual(now, first, 'what a client was told is what stands');
      assert.deepEqual(
        now.attempts.map(({ state }) => state),
        now.attempts.map((_, at) => (at + 1 === now.attempts.length ? 'accepted' : 'lost')),
        about,
      );
      // Each start leaves out a number, so they rise with gaps.
      assert.ok(
        now.attempts.every(({ number }, at) => number > (now.attempts[at - 1]?.number ?? 0)),
        about,
      );
      assert.ok(
        now.attempts.every(({ startedAt }) => startedAt <= (now.endedAt ?? 0)),
        about,
      );
      if (now.attempts.length > 1) retried += 1;
    }
    const { runs } = await katafleet.call<{ runs: object[] }>('GET', '/v1/runs?limit=1000');
    assert.equal(runs.length, told.length, 'as many runs as clients asked for');
    assert.ok(retried >= kills, `${retried} runs were under way when katafleet was killed`);
    const seconds = ((performance.now() - begun) / 1000).toFixed(0);
    console.log(`      ${kills} kills in ${seconds} s, ${told.length} runs, ${retried} of them tried again`);
  });

  it('containers of killed katafleets are removed, and all others after SIGTERM', async () => {
    await eventually('only idle sandboxes are left', 60, async () => {
      const nodes = await katafleet.nodes();
      for (const host of bed.hosts) {
        const { idle = 0, busy } = nodes[host]?.sandboxes ?? {};
        assert.deepEqual([host, busy, (await bed.containers(host)).length], [host, 0, idle]);
      }
    });
    assert.equal(await katafleet.stop(), 0);
    for (const host of bed.hosts) assert.deepEqual(await bed.containers(host), [], host);
  });
});
