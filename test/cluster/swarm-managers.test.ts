import assert from 'node:assert/strict';
import { Katafleet, type RunResult } from '../../src/app/library.ts';
import { eventually } from '../support/eventually.ts';
import { forSeconds } from '../support/fleet.ts';
import { assertGone, nodes } from '../support/swarm.ts';
import { Testbed } from '../support/testbed.ts';

const profile = { memory: 64 * 1024 ** 2, wallMs: 60_000 };
const idle = 6;

describe('a swarm of three managers that loses its leader', function () {
  this.timeout(240_000);
  let bed: Testbed;
  let katafleet: Katafleet;
  const troubles: string[] = [];
  before(async () => {
    bed = await Testbed.up({ hosts: 3, managers: 3 });
    katafleet = new Katafleet({
      nodes: [
        {
          name: 'swarm',
          endpoint: bed.endpoint('h1'),
          managers: [bed.endpoint('h2'), bed.endpoint('h3')],
          labels: {},
          driver: 'auto',
          reserve: { share: 0 },
          withoutMemoryLimits: false,
          cordoned: false,
        },
      ],
      health: { intervalMs: 500, timeoutMs: 1_500, failures: 3, successes: 1 },
      attempts: 6,
      patient: true,
      swarm: { listen: { host: bed.server, port: 0 }, advertise: undefined, patienceMs: 60_000 },
      onTrouble: (message) => troubles.push(message),
    });
    await katafleet.warm('build-essential', idle, profile);
  });
  after(async () => {
    await katafleet?.close();
    await bed?.down();
  });
  afterEach(function () {
    if (this.currentTest?.state === 'failed') console.error(troubles.splice(0).join('\n'));
  });

  const run = (script: string, image = 'build-essential'): Promise<RunResult> =>
    katafleet.run({ image, files: [], steps: [{ argv: ['bash', '-c', script] }], profile });

  it('runs under way end, each with one result, and after the election there are new sandboxes, of any image', async () => {
    const leader = await bed.docker('h1', 'node', 'inspect', 'self', '--format', '{{.ManagerStatus.Leader}}');
    assert.equal(leader.trim(), 'true', 'the first endpoint is the leader');
    const under = Array.from({ length: idle }, (_, index) => run(`${forSeconds(15)}; echo ${index}`));
    await eventually('all are under way', 60, async () => assert.equal(katafleet.fleet.nodes()[0]?.sandboxes.busy, idle));
    await bed.do('kill', 'h1');
    const results = await Promise.all(under);
    for (const [index, { outcome, steps }] of results.entries()) {
      assert.deepEqual([outcome, steps[0]?.stdout.toString()], [{ kind: 'exited', code: 0 }, `${index}\n`]);
    }
    assert.ok(
      results.some(({ attempt }) => attempt === 1),
      'those on other machines went on without their leader',
    );
    await eventually('another leads', 60, async () => assert.match((await nodes(bed, 'h2'))['h1'] ?? '', /^Down /));
    const { outcome } = await run('true', 'gcc-assert');
    assert.deepEqual(outcome, { kind: 'exited', code: 0 });
    const { state } = katafleet.fleet.nodes()[0] ?? {};
    assert.equal(state, 'ready', 'the node is served by another manager');
  });

  it('and closed it leaves nothing there', async () => {
    await katafleet.close();
    await assertGone(bed, 'h2', ['h2', 'h3']);
  });
});
