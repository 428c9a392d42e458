import assert from 'node:assert/strict';
import { eventually } from '../support/eventually.ts';
import { engineOf, hostOfTask, importScratchOn, leftIn, runningTasks, swarmFleet } from '../support/swarm.ts';
import { Registry } from '../support/registry.ts';
import { Testbed } from '../support/testbed.ts';

const image = 'katafleet-test/scratch';
const small = { memory: 64 * 1024 ** 2 };

describe('a swarm whose images go by a registry', function () {
  this.timeout(240_000);
  let bed: Testbed;
  let registry: Registry;
  const troubles: string[] = [];
  before(async () => {
    bed = await Testbed.up({ hosts: 3, managers: 1, dockerd: '--insecure-registry 10.0.0.0/8' });
    registry = await Registry.start(bed.server);
    await importScratchOn(bed, image, ['h1']);
  });
  after(async () => {
    await registry?.[Symbol.asyncDispose]();
    await bed?.down();
  });
  afterEach(function () {
    if (this.currentTest?.state === 'failed') console.error(troubles.join('\n'));
    troubles.splice(0);
  });

  const fleetOf = (registered: string) =>
    swarmFleet(bed, { patient: true, onTrouble: (message) => troubles.push(message), swarm: { registry: registered, patienceMs: 15_000 } });
  const run = {
    image,
    files: [{ path: 'in', mode: 0o644, mtimeNs: 0n, content: Buffer.from('given') }],
    steps: [{ argv: ['/program'] }],
    profile: small,
  };
  /** What the tasks of pools are made of. */
  const imagesOfPools = async () => {
    const names = (await leftIn(bed)).filter((name) => name.startsWith('service ')).map((name) => name.slice('service '.length));
    return bed.docker('h1', 'service', 'inspect', '--format', '{{.Spec.TaskTemplate.ContainerSpec.Image}}', ...names);
  };

  it('an image that the manager alone has is pushed, pulled by every node before a task waits for it, and named by its digest', async () => {
    await using fleet = fleetOf(`${registry.name}/kf`);
    await fleet.warm(image, 6, small);
    for (const host of bed.hosts) {
      await eventually(`${host} has it`, 60, async () => {
        const { RepoDigests } = await engineOf(bed, host)
          .getImage((await imagesOfPools()).trim())
          .inspect();
        assert.match(RepoDigests.join(), new RegExp(`^${registry.name}/kf/[0-9a-f]{12}@sha256:[0-9a-f]{64}$`));
      });
    }
    assert.equal((await registry.repositories()).length, 1);
    await eventually('tasks wait on every host', 60, async () => {
      await Promise.all(Array.from({ length: 6 }, () => fleet.run(run))); // what follows them is placed anew
      const hosts = new Set<string>();
      for (const task of await runningTasks(bed)) hosts.add(await hostOfTask(bed, task));
      assert.deepEqual([...hosts].sort(), bed.hosts);
    });
    assert.deepEqual(
      (await leftIn(bed)).filter((name) => name.includes('-pull-')),
      [],
      'the job that pulled is gone',
    );

    registry.freeze();
    const results = await Promise.all(Array.from({ length: 20 }, () => fleet.run(run)));
    for (const { outcome } of results) assert.deepEqual(outcome, { kind: 'exited', code: 0 }, 'a registry that hangs holds nobody up');
  });

  it('a registry that is not there is told, and what can be run is run', async () => {
    await registry[Symbol.asyncDispose]();
    const other = 'katafleet-test/other';
    await importScratchOn(bed, other, ['h1']);
    await using fleet = fleetOf(`${registry.name}/other`);
    const results = await Promise.all(Array.from({ length: 6 }, () => fleet.run({ ...run, image: other })));
    for (const { outcome } of results) assert.deepEqual(outcome, { kind: 'exited', code: 0 });
    await eventually('it is told', 60, () => {
      assert.match(troubles.join('\n'), /could not be brought: .*push an image to .*\/other/);
      return Promise.resolve();
    });
  });
});
