import assert from 'node:assert/strict';
import { KatafleetError } from '../../../src/model/errors.ts';
import { dispatching, jobOf } from '../../support/dispatching.ts';
import { MiB } from '../../support/fake-fleet.ts';

/** A dispatcher over full nodes that counts how many nodes are looked at, in all and in one turn of the event loop at most. */
async function full(nodes: number) {
  const names = Array.from({ length: nodes }, (_, node) => `n${node}`);
  const parts = await dispatching(names);
  const { cluster } = parts.fleet;
  for (const name of names) cluster.reserve(name, cluster.node(name)?.free ?? 0);
  const looks = { all: 0, inTurn: 0, most: 0 };
  const each = cluster.nodes.bind(cluster);
  cluster.nodes = function* () {
    for (const node of each()) {
      looks.all += 1;
      if ((looks.inTurn += 1) === 1) setImmediate(() => (looks.inTurn = 0));
      looks.most = Math.max(looks.most, looks.inTurn);
      yield node;
    }
  } as typeof cluster.nodes;
  const release = async () => {
    for (const name of names) cluster.release(name, cluster.node(name)?.booked ?? 0);
    await parts.close();
  };
  return { ...parts, names, looks, release };
}

const failure = (run: Promise<unknown>): Promise<KatafleetError> =>
  run.then(
    () => {
      throw new Error('it has not failed');
    },
    (error: unknown) => error as KatafleetError,
  );

describe('many runs whose time is over at once', () => {
  it('share one explanation if they have one shape, and it names the first nodes and counts the rest', async () => {
    const { dispatcher, names, looks, release } = await full(200);
    const runs = Array.from({ length: 300 }, (_, run) => dispatcher.submit(jobOf(['echo'], { queueMs: 20, tenant: `t${run % 10}` })));
    const failures = Promise.all(runs.map(failure));
    await Promise.resolve();
    looks.all = 0;
    const errors = await failures;
    assert.deepEqual([...new Set(errors.map(({ code }) => code))], ['queue.deadline']);
    assert.ok(looks.all <= 3 * names.length, `${looks.all} looks at ${names.length} nodes`);
    const { message } = errors[0] as KatafleetError;
    assert.match(
      message,
      /n0: memory: 512 MiB wanted, 0 B free of 8 GiB; n1: .*n19: .*; and 180 more; of all 200 nodes 200 lack free memory$/,
    );
    assert.doesNotMatch(message, /n20/);
    await release();
  });

  it('look at few nodes in one turn of the event loop, however many shapes they have', async () => {
    const { dispatcher, names, looks, release } = await full(500);
    const runs = Array.from({ length: 100 }, (_, run) => dispatcher.submit(jobOf(['echo'], { queueMs: 20, memory: (512 + run) * MiB })));
    const failures = Promise.all(runs.map(failure));
    await new Promise((resolve) => setImmediate(resolve));
    looks.most = 0;
    await failures;
    assert.ok(looks.most <= 16 * names.length, `${looks.most} looks at ${names.length} nodes in one turn`);
    await release();
  });
});

describe('a run that no node can ever take', () => {
  it('is explained once, however often it is sent', async () => {
    const { dispatcher, names, looks, release } = await full(200);
    looks.all = 0;
    for (let time = 0; time < 50; time += 1) {
      const { code, message } = await failure(dispatcher.submit(jobOf(['echo'], { constraints: ['zone==none'] })));
      assert.equal(code, 'placement.impossible');
      assert.match(message, /and 180 more; of all 200 nodes 200 have other labels$/);
    }
    assert.ok(looks.all <= 3 * names.length, `${looks.all} looks at ${names.length} nodes`);
    await release();
  });
});
