import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Katafleet } from '../../src/app/library.ts';
import type { CopyEvent } from '../../src/images/deliver.ts';
import { endpoint, sh, stdout } from '../support/fleet.ts';
import { until } from '../support/until.ts';

const execute = promisify(execFile);
const script = fileURLToPath(new URL('../../scripts/engine', import.meta.url));
const MiB = 1024 ** 2;
const image = 'katafleet/build-essential:latest';

describe('distributing images from the tests’ engine to an empty one and to one with a small disk', function () {
  this.timeout(240_000);
  let folder: string;
  let fleet: Katafleet;

  before(async function () {
    if (process.getuid?.() !== 0) return this.skip();
    folder = await mkdtemp(join(tmpdir(), 'kf-'));
    for (const name of ['empty', 'small', 'disk']) await mkdir(join(folder, name));
    await execute('mount', ['-t', 'tmpfs', '-o', 'size=96m', 'none', join(folder, 'disk')]);
    await mkdir(join(folder, 'disk/data'));
    await symlink(join(folder, 'disk/data'), join(folder, 'small/data'));
    for (const name of ['empty', 'small']) await execute(script, ['up', join(folder, name)]);
    const common = { labels: {}, driver: 'auto', reserve: { share: 0 }, withoutMemoryLimits: false, cordoned: false } as const;
    const nodes = ['empty', 'small'].map((name) => ({ name, endpoint: `unix://${folder}/${name}/docker.sock`, ...common }));
    fleet = new Katafleet({ nodes: [{ name: 'full', endpoint, ...common }, ...nodes], copy: false });
  });
  after(async () => {
    await fleet?.close();
    if (!folder) return;
    for (const name of ['empty', 'small']) await execute(script, ['down', join(folder, name), '--purge']);
    await execute('umount', [join(folder, 'disk')]);
    await rm(folder, { recursive: true });
  });

  it('an engine that is killed in the middle gets it at the second try; a full disk is told as such and stops nobody', async () => {
    const plan = await fleet.planDistribution({ images: ['build-essential'], to: [] });
    assert.deepEqual(
      plan.map(({ node, kind }) => [node, kind]),
      [
        ['full', 'keep'],
        ['empty', 'bring'],
        ['small', 'bring'],
      ],
    );
    const events: CopyEvent[] = [];
    let killing: Promise<unknown> | undefined;
    const deliveries = await fleet.distribute(plan, {
      parallel: 2,
      attempts: 2,
      onEvent: (event) => {
        events.push(event);
        if (event.kind === 'passed' && event.node === 'empty' && event.bytes > 20 * MiB)
          killing ??= execute(script, ['kill', join(folder, 'empty')]);
      },
      pause: async () => {
        await killing;
        await execute(script, ['up', join(folder, 'empty')]);
        await until(async () => {
          await fleet.fleet.node('empty').check();
          return fleet.fleet.node('empty').state === 'ready';
        });
      },
    });
    const [empty, small] = ['empty', 'small'].map((name) => deliveries.find(({ node }) => node === name));
    assert.ok(killing, 'it was killed');
    assert.ok(empty?.kind === 'done' && empty.bytes > 100 * MiB);
    assert.deepEqual(
      events.filter((event) => event.node === 'empty' && event.kind !== 'passed').map(({ kind }) => kind),
      ['begun', 'again', 'begun', 'done'],
    );
    assert.equal(small?.kind === 'failed' ? small.error.code : small?.kind, 'engine.disk_full');

    const ids = async (at: string) => (await execute('docker', ['-H', at, 'images', '-q', '--no-trunc', image])).stdout;
    assert.equal(await ids(`unix://${folder}/empty/docker.sock`), await ids(endpoint), 'the same image');
    assert.equal(await ids(`unix://${folder}/small/docker.sock`), '', 'nothing half');
  });

  it('a copied image is visible at once, and runs there', async () => {
    const [, second] = await fleet.planDistribution({ images: ['build-essential'], to: ['full', 'empty'] });
    assert.deepEqual([second?.node, second?.kind], ['empty', 'keep']);
    fleet.fleet.cordon('full');
    const result = await sh(fleet, 'gcc --version | head -n 1');
    assert.equal(result.node, 'empty');
    assert.match(stdout(result), /^gcc /);
  });
});
