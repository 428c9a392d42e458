import assert from 'node:assert/strict';
import type { Katafleet } from '../../src/app/library.ts';
import { eventually } from '../support/eventually.ts';
import { forSeconds, sh, stdout } from '../support/fleet.ts';
import { hostOf, hostOfTask, nodes, runningTasks, swarmFleet } from '../support/swarm.ts';
import { Testbed, type Verb } from '../support/testbed.ts';

const profile = { memory: 64 * 1024 ** 2, wallMs: 60_000 };
/** How long a run lasts that is to be broken, in seconds: until it is found and struck. */
const lasts = 10;
/** Three of them, and a swarm gives a node up: by far not before the run has been answered from elsewhere. */
const heartbeat = '20s';
const idle = 9;

describe('a node of a swarm is lost', function () {
  this.timeout(300_000);
  let bed: Testbed;
  let fleet: Katafleet;
  let made = 0;
  const troubles: string[] = [];
  before(async () => {
    bed = await Testbed.up({ hosts: 3, managers: 1, heartbeat });
    fleet = swarmFleet(bed, { patient: true, onTrouble: (message) => troubles.push(message) });
    await fleet.warm('build-essential', idle, profile);
  });
  after(async () => {
    await fleet?.close();
    await bed?.down();
  });
  afterEach(function () {
    if (this.currentTest?.state === 'failed') console.error(troubles.splice(0).join('\n'));
  });

  /** A run that is met on one of the workers, and there broken. */
  const victim = async () => {
    for (let tries = 0; tries < 20; tries += 1) {
      const word = `victim-${(made += 1)}`;
      const steps = [{ argv: ['bash', '-c', `hostname; ${forSeconds(lasts)} # ${word}`] }];
      const cancel = new AbortController();
      const result = fleet.run({ image: 'build-essential', files: [], steps, profile }, { signal: cancel.signal });
      const host = await hostOf(bed, word);
      if (host !== 'h1') return { host, result };
      cancel.abort();
      await result;
    }
    return assert.fail('no run on a worker');
  };
  const whole = () =>
    eventually('all nodes take tasks, and as many wait as are to', 60, async () => {
      assert.deepEqual(await nodes(bed), { h1: 'Ready Active', h2: 'Ready Active', h3: 'Ready Active' });
      assert.equal(await fleet.idle('build-essential', profile), idle);
    });

  const blows: [what: string, blow: Verb, mend: Verb][] = [
    ['its power is cut', 'kill', 'start'],
    ['it freezes', 'freeze', 'thaw'],
    ['it is cut off', 'cut', 'heal'],
  ];
  for (const [what, blow, mend] of blows) {
    it(`${what}: its run is answered from elsewhere while the swarm still thinks it ready`, async () => {
      await whole();
      const { host, result } = await victim();
      await bed.do(blow, host);
      try {
        const { outcome, attempt, steps } = await result;
        const then = await nodes(bed); // at the moment of the answer
        assert.equal(then[host], 'Ready Active', 'the swarm has not noticed yet');
        assert.deepEqual([outcome, attempt], [{ kind: 'exited', code: 0 }, 2]);
        assert.notEqual(await hostOfTask(bed, steps[0]?.stdout.toString().trim() ?? ''), host);
      } finally {
        await bed.do(mend, host);
      }
    });
  }

  it('its engine alone is killed: what runs there goes on, for its connection is its own', async () => {
    await whole();
    const { host, result } = await victim();
    await bed.do('kill-engine', host);
    const { attempt, steps } = await result;
    assert.deepEqual([attempt, await hostOfTask(bed, steps[0]?.stdout.toString().trim() ?? '')], [1, host]);
    await bed.do('start-engine', host);
    await whole();
  });

  it('200 runs at once have each their own answer, from as many tasks, on every node', async () => {
    const runs = Array.from({ length: 200 }, (_, index) => sh(fleet, `echo ${index}; hostname`, { profile }));
    const said = (await Promise.all(runs)).map((result) => stdout(result).trim().split('\n'));
    assert.deepEqual(
      said.map(([number]) => number),
      runs.map((_, index) => `${index}`),
    );
    assert.equal(new Set(said.map(([, task]) => task)).size, runs.length, 'no task served twice');
    await eventually('those that served are there no more', 60, async () => {
      const there = await runningTasks(bed);
      assert.ok(there.size > 0 && !said.some(([, task]) => there.has(task ?? '')));
    });
    const { members = [] } = fleet.fleet.nodes()[0] ?? {};
    assert.deepEqual(
      members.map(({ name }) => name),
      bed.hosts,
    );
    // The swarm keeps a few of each slot's former tasks: enough to see where they were.
    const served = new Set<string>();
    for (const [, task = ''] of said.slice(-40)) served.add(await hostOfTask(bed, task).catch(() => ''));
    for (const host of bed.hosts) assert.ok(served.has(host), [...served].join());
  });
});
