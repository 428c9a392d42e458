import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import Dockerode from 'dockerode';
import { eventually } from '../support/eventually.ts';
import { type RunAnswer, Service } from '../support/service.ts';
import { importScratch } from '../support/scratch.ts';
import { Testbed } from '../support/testbed.ts';
import { forSeconds, withoutUid } from '../support/fleet.ts';

const MiB = 1024 ** 2;
const command = (script: string) => ['bash', '-c', script];
const stdout = ({ result }: RunAnswer) => result?.steps[0]?.stdout;

describe('two nodes, each with labels of its own and little memory', function () {
  this.timeout(240_000);
  let bed: Testbed;
  let katafleet: Service;
  before(async () => {
    bed = await Testbed.up({ hosts: 2, memory: '1g' });
    await importScratch(new Dockerode({ socketPath: bed.socket('h1'), host: undefined }), 'kf-test/only-there');
    katafleet = await Service.start({
      nodes: bed.hosts.map((name) => ({ name, endpoint: bed.endpoint(name), labels: { host: name, zone: 'here' } })),
      defaults: { reserve: '100m' },
      profiles: { small: { memory: '64m', wallMs: '60s' }, third: { memory: '300m' }, most: { memory: '800m', wallMs: '120s' } },
      pools: [{ image: 'build-essential', profile: 'small', idle: { min: 2, max: 4 } }],
      health: { interval: '500ms', timeout: '1500ms', failures: 3, successes: 2 },
      reaping: { grace: '2s' },
    });
    await state('h1', 'ready');
    await state('h2', 'ready');
  });
  after(async () => {
    await katafleet?.[Symbol.asyncDispose]();
    await bed?.down();
  });
  afterEach(function () {
    if (this.currentTest?.state === 'failed') console.error(katafleet.log);
  });

  const state = (host: string, wanted: string) =>
    eventually(`${host} is ${wanted}`, 60, async () => {
      const { [host]: node } = await katafleet.nodes();
      assert.equal(node?.state, wanted, JSON.stringify(node));
    });
  const submit = (body: object) =>
    katafleet.call<RunAnswer>('POST', '/v1/runs', { image: 'build-essential', profile: 'small', command: command('echo done'), ...body });
  const run = async (body: object) => katafleet.ended(await submit(body));
  const on = (host: string) => ({ constraints: [`host==${host}`] });
  const begun = (id: string) =>
    eventually('the run is under way', 60, async () => {
      const { attempts } = await katafleet.call<RunAnswer>('GET', `/v1/runs/${id}`);
      const last = attempts.at(-1);
      assert.equal(last?.state, 'running', JSON.stringify(attempts));
      return last.node;
    });

  it('a run goes where its constraints hold, and is refused at once where they hold nowhere', async () => {
    const [first, second, other] = await Promise.all([run(on('h1')), run(on('h2')), run({ constraints: ['host!=h1', 'zone==here'] })]);
    assert.deepEqual([first.result?.node, second.result?.node, other.result?.node], ['h1', 'h2', 'h2']);
    await assert.rejects(submit({ constraints: ['host==h3'] }), /422.*host==h3 wanted/);
    await assert.rejects(submit({ profile: { memory: 2048 * MiB } }), /400.*limits\.invalid.*2 GiB asked for/);
  });

  it('a cordoned node gets nothing new and keeps its idle sandboxes', async () => {
    await katafleet.call('POST', '/v1/nodes/h2/cordon');
    const runs = await Promise.all(Array.from({ length: 6 }, () => run({})));
    assert.ok(runs.every(({ result }) => result?.node === 'h1'));
    const { h2 } = await katafleet.nodes();
    assert.equal(h2?.cordoned, 'cordoned');
    const waits = await submit(on('h2'));
    assert.equal((await katafleet.call<RunAnswer>('GET', `/v1/runs/${waits.id}`)).state, 'waiting');
    await katafleet.call('POST', '/v1/nodes/h2/uncordon');
    assert.equal((await katafleet.ended(waits)).result?.node, 'h2');
  });

  it('a drained node ends what it runs, empties its pools, and serves again when it is told to', async () => {
    const going = await submit({ ...on('h2'), command: command(`${forSeconds(8)}; echo in peace`) });
    assert.equal(await begun(going.id), 'h2');
    await katafleet.call('POST', '/v1/nodes/h2/drain');
    const others = await Promise.all(Array.from({ length: 4 }, () => run({})));
    assert.ok(others.every(({ result }) => result?.node === 'h1'));
    const ended = await katafleet.ended(going);
    assert.deepEqual([stdout(ended), ended.result?.node, ended.attempts.length], ['in peace\n', 'h2', 1]);
    await eventually('h2 is drained', 60, async () => {
      assert.equal((await katafleet.nodes())['h2']?.cordoned, 'drained');
      assert.deepEqual(await bed.containers('h2'), []);
    });
    await katafleet.kill();
    await katafleet.start();
    await state('h2', 'ready');
    assert.equal((await katafleet.nodes())['h2']?.cordoned, 'drained', 'and stays so over a restart');
    assert.deepEqual(await bed.containers('h2'), []);
    await katafleet.call('POST', '/v1/nodes/h2/uncordon');
    assert.equal((await run(on('h2'))).result?.node, 'h2');
  });

  it('a run on a node whose power is cut is tried elsewhere; the node serves again when it is back', async () => {
    const going = await submit({ command: command(`${forSeconds(15)}; echo $HOSTNAME`) });
    const node = await begun(going.id);
    await bed.do('kill', node);
    const ended = await katafleet.ended(going);
    assert.deepEqual(
      ended.attempts.map(({ node: tried, state: how }) => [tried === node, how]),
      [
        [true, 'lost'],
        [false, 'accepted'],
      ],
    );
    await state(node, 'down');
    const waits = await submit(on(node));
    await bed.do('start', node);
    assert.equal((await katafleet.ended(waits)).result?.node, node);
    await eventually('nothing is left over there', 60, async () => {
      assert.equal((await bed.containers(node)).length, (await katafleet.nodes())[node]?.sandboxes.idle);
    });
  });

  it('an image goes from the node that has it to the one that must run it', async () => {
    const scratch = {
      image: 'kf-test/only-there',
      command: ['/program'],
      files: { in: 'given' },
    };
    const where = async () => {
      const { images } = await katafleet.call<{ images: { name: string; ready: string[] }[] }>('GET', '/v1/images');
      return images.find(({ name }) => name === 'kf-test/only-there:latest')?.ready;
    };
    assert.deepEqual(await where(), ['h1']);
    const there = await run(scratch);
    assert.deepEqual([there.result?.node, withoutUid(stdout(there) ?? '')], ['h1', 'UID given\n']);
    const brought = await run({ ...scratch, ...on('h2') });
    assert.deepEqual([brought.result?.node, withoutUid(stdout(brought) ?? ''), brought.attempts.length], ['h2', 'UID given\n', 1]);
    assert.deepEqual((await where())?.sort(), ['h1', 'h2']);
  });

  it('a full node sends a run, and the image that it needs, to one with room', async () => {
    await importScratch(new Dockerode({ socketPath: bed.socket('h1'), host: undefined }), 'kf-test/crowded');
    const big = await submit({ ...on('h1'), profile: 'most', command: command('sleep 100') });
    await begun(big.id);
    const moved = await run({ image: 'kf-test/crowded', profile: { memory: 200 * MiB }, command: ['/program'], files: { in: 'given' } });
    assert.deepEqual([moved.result?.node, withoutUid(stdout(moved) ?? '')], ['h2', 'UID given\n']);
    await katafleet.call('DELETE', `/v1/runs/${big.id}`);
  });

  it('a slow node serves, if slowly, and is not taken for a lost one', async () => {
    const content = randomBytes(300_000);
    const before = (await katafleet.call<{ events: object[] }>('GET', '/v1/events?node=h2')).events;
    await bed.slow('h2', '2mbit');
    try {
      const slow = await run({
        ...on('h2'),
        files: [{ path: 'in', content: content.toString('base64'), encoding: 'base64' }],
        profile: { memory: 64 * MiB, wallMs: 60_000 },
        command: command('cat in in > out; md5sum < in > sum'),
      });
      const { result, attempts } = slow;
      assert.deepEqual(
        [result?.node, attempts.length, result?.outcome],
        ['h2', 1, { kind: 'exited', code: 0 }],
        JSON.stringify(slow.error),
      );
      const out = result?.changes.files.find(({ path }) => path === 'out');
      assert.ok(Buffer.from(out?.content ?? '', 'base64').equals(Buffer.concat([content, content])));
    } finally {
      await bed.slow('h2', 'off');
    }
    assert.deepEqual((await katafleet.call<{ events: object[] }>('GET', '/v1/events?node=h2')).events, before);
  });

  it('memory is never overbooked: forty runs of a third of a node each, and no more than three at once on any', async () => {
    let over = false;
    let most = 0;
    const watch = async () => {
      while (!over) {
        for (const { name, memory } of Object.values(await katafleet.nodes())) {
          assert.ok(memory.booked <= memory.bookable, `${name}: ${memory.booked} of ${memory.bookable} booked`);
          most = Math.max(most, memory.booked / memory.bookable);
        }
      }
    };
    const watching = watch();
    watching.catch(() => undefined); // awaited below
    const runs = await Promise.all(
      Array.from({ length: 40 }, () => run({ profile: 'third', command: command('date +%s%N; sleep 0.3; date +%s%N') })),
    );
    over = true;
    await watching;
    // The hosts share the machine's clock, so that the runs themselves can tell which of them were there together.
    const spans = runs.map((answer) => {
      assert.equal(answer.state, 'finished', JSON.stringify(answer.error));
      const [from = 0n, to = 0n] = (stdout(answer) ?? '').trim().split('\n').map(BigInt);
      return { node: answer.result?.node, from, to };
    });
    for (const host of bed.hosts) {
      const there = spans.filter(({ node }) => node === host);
      const together = Math.max(...there.map(({ from }) => there.filter((other) => other.from <= from && from < other.to).length));
      assert.ok(together >= 2 && together <= 3, `${together} at once on ${host}`);
    }
    assert.ok(most > 0.6, `${most} of a node was booked at most: the runs did not get in each other’s way`);
  });
});
