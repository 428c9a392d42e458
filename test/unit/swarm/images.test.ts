import assert from 'node:assert/strict';
import { EngineDriver } from '../../../src/drivers/engine/driver.ts';
import { SwarmImages, type SwarmImagesOptions } from '../../../src/drivers/swarm/nodes/images.ts';
import { Managers } from '../../../src/drivers/swarm/nodes/managers.ts';
import { swarmNodes } from '../../../src/drivers/swarm/nodes/nodes.ts';
import type { Machine } from '../../../src/model/node.ts';
import { eventually } from '../../support/eventually.ts';
import { FakeDriver, fakeFingerprint } from '../../support/fake-driver.ts';
import { stubImage, stubNode, StubSwarm } from '../../support/stub-swarm.ts';

const id = 'sha256:0123456789ab';
const digest = 'hub/x@sha256:feed';
const pushed = 'registry:5000/0123456789ab@sha256:beef';

describe('images on the nodes of a swarm', () => {
  let swarm: StubSwarm;
  let engine: EngineDriver;
  let nodes: Machine[];
  let troubles: string[];
  let changes: string[];
  let pulled: string[];
  let unable: string[];

  beforeEach(async () => {
    swarm = await StubSwarm.start();
    swarm.nodes = ['n1', 'n2', 'n3'].map((node) => stubNode(node));
    swarm.images = { x: stubImage(id), [id]: stubImage(id) };
    engine = new EngineDriver({ endpoint: swarm.endpoint });
    nodes = await swarmNodes(new Managers([engine]));
    [troubles, changes, pulled, unable] = [[], [], [], []];
  });
  afterEach(async () => {
    engine.close();
    await swarm[Symbol.asyncDispose]();
  });

  const images = (more: Partial<SwarmImagesOptions> = {}) =>
    new SwarmImages({
      managers: new Managers([engine]),
      workers: [],
      registry: undefined,
      pull: (reference) => {
        pulled.push(reference);
        return Promise.resolve(unable);
      },
      onChange: (image) => changes.push(image),
      onTrouble: (message) => troubles.push(message),
      ...more,
    });
  const on = (...ids: string[]) => nodes.filter((node) => ids.includes(node.id));
  const soon = (what: string, check: () => void | Promise<void>) => eventually(what, 30, async () => check());
  const takesPushes = () => {
    swarm.images[id] = { ...stubImage(id), RepoDigests: [pushed] };
    swarm.before = ({ url }) => (url.includes('/tag') ? [201, ''] : url.includes('/push') ? [200, ''] : undefined);
  };
  const reference = async (of: SwarmImages) => (await of.prepare('x', true)).reference;

  it('are named by their id, or where another node may have to pull them by a digest: never by a tag', async () => {
    assert.equal(await reference(images()), id);
    swarm.images['x'] = { ...stubImage(id), RepoTags: ['x:latest'], RepoDigests: ['<none>@<none>', digest] };
    assert.equal(await reference(images()), digest);
    assert.equal((await images().prepare('x', false)).reference, id);
  });

  it('are pushed to a registry and pulled everywhere, and are called by that from then on', async () => {
    takesPushes();
    const all = images({ registry: 'registry:5000' });
    all.found(id, on('n2'));
    assert.deepEqual([all.lacking(id), changes], [['n2'], [id]]);
    await soon('nobody lacks it', () => {
      assert.deepEqual(all.lacking(id), []);
    });
    assert.deepEqual([await reference(all), pulled, changes, troubles], [pushed, [pushed], [id, id], []]);
  });

  it('keep their reference if the registry helped no node, because nodes that have them by it would lack them', async () => {
    takesPushes();
    unable = ['n2', 'n3'];
    const all = images({ registry: 'registry:5000' });
    all.found(id, on('n2'));
    await soon('it is told', () => {
      assert.equal(troubles.length, 1);
    });
    assert.match(troubles.join(), /no node that lacks it could pull registry:5000/);
    assert.deepEqual([await reference(all), all.lacking(id)], [id, ['n2']]);
  });

  it('are not looked for where nodes are known to lack them, nor brought twice', () => {
    const all = images();
    all.found(id, on('n2'));
    all.found(id, on('n2'));
    assert.deepEqual(changes, [id]);
  });

  it('are at a node whose own engine says so', async () => {
    const worker = new FakeDriver();
    worker.fingerprint = { ...fakeFingerprint, node: 'host-n2' };
    worker.inventory = [{ id, tags: [], digests: [], size: 0, labels: {} }];
    const all = images({ workers: [worker] });
    all.found(id, on('n2', 'n3'));
    await soon('one has it', () => {
      assert.deepEqual(all.lacking(id), ['n3']);
    });
    await soon('the other is told of', () => {
      assert.match(troubles.join(), /host-n3: no endpoint of theirs is configured/);
    });
    assert.equal(worker.imports, 0);
  });

  it('are brought to nodes that are found to lack them while others are served', async () => {
    takesPushes();
    let finish: () => void = () => undefined;
    const begun: string[] = [];
    const pull = (name: string) => {
      begun.push(name);
      return new Promise<string[]>((resolve) => (finish = () => resolve([])));
    };
    const all = images({ registry: 'registry:5000', pull });
    all.found(id, on('n2'));
    await soon('it is pulled', () => {
      assert.equal(begun.length, 1);
    });
    all.found(id, on('n3'));
    finish();
    await soon('it is pulled again', () => {
      assert.equal(begun.length, 2);
    });
    finish();
    await soon('nobody lacks it', () => {
      assert.deepEqual(all.lacking(id), []);
    });
  });

  it('are looked for anew after a while, or when they have come', () => {
    const all = images();
    all.found(id, on('n2'));
    all.forget();
    assert.deepEqual(all.lacking(id), ['n2']);
    all.forget('sha256:another');
    assert.deepEqual(all.lacking(id), ['n2']);
    all.forget(id);
    assert.deepEqual([all.lacking(id), changes.length], [[], 2]);
  });
});
