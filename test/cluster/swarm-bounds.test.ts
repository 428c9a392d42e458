import assert from 'node:assert/strict';
import { Placing } from '../../src/model/placing.ts';
import { checkJob, wantedOf } from '../../src/runs/job.ts';
import { KatafleetError } from '../../src/app/library.ts';
import { eventually } from '../support/eventually.ts';
import { forSeconds, sh, stdout } from '../support/fleet.ts';
import { engineOf, hostOfTask, importScratchOn, nodes, services, swarmFleet } from '../support/swarm.ts';
import { Testbed } from '../support/testbed.ts';

const MiB = 1024 ** 2;
const GiB = 1024 * MiB;
const small = { memory: 64 * MiB };
const hostMemory = 2;

describe('the bounds of a swarm', function () {
  this.timeout(240_000);
  let bed: Testbed;
  const troubles: string[] = [];
  const onTrouble = (message: string) => troubles.push(message);
  before(async () => {
    bed = await Testbed.up({ hosts: 3, managers: 1, memory: `${hostMemory}g` });
  });
  after(() => bed?.down());
  afterEach(function () {
    if (this.currentTest?.state === 'failed') console.error(troubles.join('\n'));
    troubles.splice(0);
  });

  it('a worker is served by its engine, and says why', async () => {
    await using fleet = swarmFleet(bed, { node: { endpoint: bed.endpoint('h2') } });
    await fleet.open();
    const [node] = fleet.fleet.nodes();
    assert.equal(node?.driver, 'engine');
    assert.match(node.why, /not swarm: a worker; only managers take services/);
    assert.deepEqual((await sh(fleet, 'true', { profile: small })).outcome, { kind: 'exited', code: 0 });
  });

  it('no machine is large enough: refused at once, with words; the sum is not the bound', async () => {
    await using fleet = swarmFleet(bed, { onTrouble });
    await assert.rejects(
      sh(fleet, 'true', { profile: { memory: (hostMemory + 1) * GiB } }),
      (error) => error instanceof KatafleetError && error.code === 'limits.invalid' && /largest machine/.test(error.message),
    );
  });

  it('the swarm has no room: its own words are told, and other pools give way', async () => {
    await using fleet = swarmFleet(bed, { onTrouble, patient: true });
    await fleet.warm('build-essential', 9, { memory: 600 * MiB }); // three on each machine
    const job = checkJob({ image: 'gcc-assert', files: [], steps: [{ argv: ['true'] }], profile: { memory: 700 * MiB } });
    const run = fleet.run({ image: 'gcc-assert', files: [], steps: [{ argv: ['true'] }], profile: { memory: 700 * MiB } });
    let told = '';
    await eventually('the swarm’s words are told', 60, async () => {
      told = JSON.stringify(await fleet.fleet.verdicts(wantedOf(job, 16 * MiB), job.limits));
      assert.match(told, /insufficient resources/);
    });
    assert.deepEqual((await run).outcome, { kind: 'exited', code: 0 }, told);
  });

  it('a pool’s target is its replicas; unused it goes to none, and comes back for a run', async () => {
    await using fleet = swarmFleet(bed, { onTrouble, swarm: { lingerMs: 500 } });
    await fleet.warm('build-essential', 3, small);
    assert.deepEqual(
      (await services(bed)).map(({ replicas }) => replicas),
      [3],
    );
    await fleet.warm('build-essential', 0, small);
    await eventually('no replica is left', 60, async () =>
      assert.deepEqual(
        (await services(bed)).map(({ replicas }) => replicas),
        [0],
      ),
    );
    assert.deepEqual((await sh(fleet, 'true', { profile: small })).outcome, { kind: 'exited', code: 0 });
  });

  it('a service that somebody has removed is made again for who waits', async () => {
    await using fleet = swarmFleet(bed, { onTrouble, patient: true });
    await fleet.warm('build-essential', 2, small);
    const [service] = await services(bed);
    await bed.docker('h1', 'service', 'rm', service?.name ?? '');
    const results = await Promise.all(Array.from({ length: 4 }, () => sh(fleet, 'echo served', { profile: small })));
    for (const result of results) assert.equal(stdout(result), 'served\n');
  });

  it('constraints of a run reach the labels of the machines: it goes where they hold, and is refused where they hold nowhere', async () => {
    await bed.docker('h1', 'node', 'update', '--label-add', 'zone=b', 'h2');
    await bed.docker('h1', 'node', 'update', '--label-add', 'zone=b', '--label-add', 'disk=ssd', 'h3');
    await using fleet = swarmFleet(bed, { onTrouble });
    await fleet.warm('build-essential', 3, small); // one on each, and none of them is taken for the others
    const hosts = async (...constraints: string[]) => {
      const placing = Placing.parse({ constraints });
      const request = { image: 'build-essential', files: [], steps: [{ argv: ['hostname'] }], profile: small };
      const results = await Promise.all(Array.from({ length: 6 }, () => fleet.run(request, { placing })));
      const served = results.map((result) => hostOfTask(bed, stdout(result).trim()));
      return [...new Set(await Promise.all(served))].sort();
    };
    assert.deepEqual(await hosts('zone==b'), ['h2', 'h3']);
    assert.deepEqual(await hosts('zone==b', 'disk!=ssd'), ['h2']);
    assert.deepEqual(await hosts('node.role==manager'), ['h1']);
    await assert.rejects(
      hosts('zone==b', 'node.role==manager'),
      (error) =>
        error instanceof KatafleetError &&
        error.code === 'placement.impossible' &&
        /they hold together for none of its machines in use/.test(error.message),
    );
  });

  it('a profile with a network gives it to its programs, and to none of another profile; katafleet is a stranger’s port there', async () => {
    await bed.docker('h1', 'network', 'create', '--driver', 'overlay', '--attachable', 'class');
    const port = 7421;
    const script = [
      `echo $(grep -o '[a-z0-9]*:' /proc/net/dev | sort)`,
      'cat /run/secrets/katafleet',
      `exec 3<>/dev/tcp/${bed.server}/${port} && head -c 4 <&3 | od -An -tx1`,
    ].join('\n');
    for (const driver of ['swarm', 'engine'] as const) {
      await using fleet = swarmFleet(bed, { onTrouble, node: { driver }, swarm: { listen: { host: bed.server, port } } });
      const [interfaces, heard] = stdout(await sh(fleet, script, { profile: { ...small, network: 'class' } })).split('\n');
      assert.match(interfaces ?? '', /^eth0: (eth1: )?lo:$/, driver);
      if (driver === 'swarm') assert.match(heard ?? '', /^( [0-9a-f]{2}){4}$/, 'it is challenged as any stranger is');
      assert.equal(stdout(await sh(fleet, script, { profile: small })), 'lo:\n', driver);
    }
    // Tasks that are on their way out still hold it.
    await eventually('the network can go', 100, () => bed.docker('h1', 'network', 'rm', 'class'));
  });

  it('an image that the manager alone has serves, and is brought to a machine that can be reached', async () => {
    const image = 'katafleet-test/scratch';
    await importScratchOn(bed, image, ['h1']);
    await using fleet = swarmFleet(bed, { onTrouble, swarm: { workers: [{ endpoint: bed.endpoint('h2') }] } });
    const run = { image, files: [], steps: [{ argv: ['/program', 'exit', '0'] }], profile: small };
    const results = await Promise.all(Array.from({ length: 6 }, () => fleet.run(run)));
    for (const { outcome } of results) assert.notEqual(outcome.kind, 'lost');
    await eventually('h2 has it', 60, async () => {
      const there = await engineOf(bed, 'h2').getImage(`${image}:latest`).inspect();
      assert.ok(there.Id);
    });
  });

  it('a machine is cordoned and drained through the swarm; a run on it ends in peace', async () => {
    await using fleet = swarmFleet(bed, { onTrouble });
    await fleet.warm('build-essential', 3, small);
    const runs = Array.from({ length: 3 }, () => sh(fleet, `${forSeconds(10)}; echo done`, { profile: { ...small, wallMs: 60_000 } }));
    await eventually('all are under way', 60, async () => {
      await fleet.fleet.all[0]?.freshMachines();
      assert.equal(fleet.fleet.nodes()[0]?.members?.find(({ name }) => name === 'h2')?.sandboxes.busy, 1);
    });
    await fleet.fleet.cordonMachine('swarm/h2', 'drain');
    assert.equal((await nodes(bed))['h2'], 'Ready Drain');
    for (const result of await Promise.all(runs)) assert.deepEqual([stdout(result), result.attempt], ['done\n', 1]);
    await eventually('nothing of ours is on h2', 60, async () => assert.equal(await bed.docker('h2', 'ps', '--quiet'), ''));
    await fleet.fleet.cordonMachine('swarm/h2', 'cordon');
    assert.equal((await nodes(bed))['h2'], 'Ready Pause');
    await fleet.fleet.cordonMachine('swarm/h2', 'uncordon');
    assert.equal((await nodes(bed))['h2'], 'Ready Active');
  });
});
