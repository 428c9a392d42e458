import assert from 'node:assert/strict';
import type Dockerode from 'dockerode';
import { archiveBytes } from '../../src/drivers/engine/archive-bytes.ts';
import { measured, type PlannedStep } from '../../src/images/distribute.ts';

const MiB = 1024 ** 2;
const containerd = [['driver-type', 'io.containerd.snapshotter.v1']];
/** An engine with one image: what its list and its history say of it. */
const engine = (DriverStatus: unknown, size: number, layers: number[]) =>
  ({
    info: () => Promise.resolve({ DriverStatus }),
    listImages: () =>
      Promise.resolve([
        { Id: 'other', Size: 1 },
        { Id: 'sha256:1', Size: size },
      ]),
    getImage: () => ({
      inspect: () => Promise.resolve({ Id: 'sha256:1', Size: 3 }),
      history: () => Promise.resolve(layers.map((Size) => ({ Size }))),
    }),
  }) as unknown as Dockerode;

describe('how many bytes of an image travel', () => {
  it('is its size in the engine’s own store', async () => {
    const own = [
      ['Backing Filesystem', 'extfs'],
      ['Supports d_type', 'true'],
    ];
    assert.equal(await archiveBytes(engine(own, 500 * MiB, [500 * MiB]), 'x'), undefined);
    assert.equal(await archiveBytes(engine(null, 500 * MiB, [500 * MiB]), 'x'), undefined);
  });

  it('is its content in containerd’s store, whose size counts what is unpacked too', async () => {
    assert.equal(await archiveBytes(engine(containerd, 1_020 * MiB, [300 * MiB, 200 * MiB, 0]), 'x'), 520 * MiB);
    assert.equal(await archiveBytes(engine(containerd, 680 * MiB, [500 * MiB]), 'x'), 180 * MiB); // as a registry gave it
    assert.equal(await archiveBytes(engine(containerd, 400 * MiB, [500 * MiB]), 'x'), 0); // nothing sensible
  });

  it('goes into the plan, and an answer that does not come stops nothing', async () => {
    const bring = (image: string, node: string, from: string[]): PlannedStep => ({
      ...{ image, node, kind: 'bring', from, architecture: 'amd64', bytes: 1_000, handsOn: true },
    });
    const keep: PlannedStep = { image: 'a', node: 'n4', kind: 'keep', why: 'the node has it' };
    const plan = [bring('a', 'n1', ['s', 't']), bring('a', 'n2', ['s']), bring('b', 'n1', ['t']), bring('c', 'n1', ['s']), keep];
    const asked: string[] = [];
    const answers: Record<string, () => Promise<number | undefined>> = {
      'a s': () => Promise.resolve(520),
      'b t': () => Promise.resolve(undefined),
      'c s': () => Promise.reject(new Error('gone')),
    };
    const found = await measured(plan, (image, from) => {
      asked.push(`${image} ${from}`);
      return answers[`${image} ${from}`]?.() ?? Promise.resolve(undefined);
    });
    assert.deepEqual(
      found.map((step) => (step.kind === 'bring' ? step.bytes : step.kind)),
      [520, 520, 1_000, 0, 'keep'],
    );
    assert.deepEqual(asked, ['a s', 'b t', 'c s']);
  });
});
