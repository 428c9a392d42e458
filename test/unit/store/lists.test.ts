import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { RunState } from '../../../src/model/record.ts';
import type { RunList } from '../../../src/model/run-store.ts';
import { Store } from '../../../src/store/store.ts';
import { accepting, failure, request, result } from '../../support/stored.ts';

const [tenants, images, states] = [
  ['t1', 't2'],
  ['gcc', 'python'],
  ['waiting', 'running', 'finished', 'failed', 'cancelled'] as RunState[],
];
const runs = Array.from({ length: 120 }, (_, index) => ({
  id: `r${index}`,
  tenant: tenants[index % 2] ?? '',
  image: images[Math.floor(index / 2) % 2] ?? '',
  state: states[Math.floor(index / 3) % 5] ?? 'waiting',
  key: `k${Math.floor(index / 2)}`, // both tenants have it
  at: 10 * index,
}));

describe('the store: a list of runs', () => {
  let store: Store;
  before(async () => {
    store = await Store.open(':memory:');
    for (const { id, tenant, image, state, key, at } of runs) {
      await accepting(() => store)(id, { tenant, key, at, request: { ...request(), image } });
      if (state === 'running' || state === 'finished') await store.begin(id, 1, { node: 'n' }, at);
      if (state === 'finished') await store.finish(id, 1, result(id), at + 1);
      if (state === 'failed') await store.fail(id, undefined, failure, at + 1);
      if (state === 'cancelled') await store.cancel(id, at + 1);
    }
  });
  after(() => store.close());

  const maybe = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined });

  it('has the runs that match every field of any filter, newest first, in pages', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.record({
          limit: fc.integer({ min: 1, max: 40 }),
          state: maybe(fc.constantFrom(...states)),
          tenant: maybe(fc.constantFrom(...tenants, 'nobody')),
          image: maybe(fc.constantFrom(...images)),
          key: maybe(fc.constantFrom('k1', 'k2', 'k59')),
          since: maybe(fc.integer({ min: -5, max: 1_300 })),
          until: maybe(fc.integer({ min: -5, max: 1_300 })),
        }),
        async (of: RunList) => {
          const expected = runs
            .filter(
              (run) =>
                (of.state ?? run.state) === run.state &&
                (of.tenant ?? run.tenant) === run.tenant &&
                (of.image ?? run.image) === run.image &&
                (of.key ?? run.key) === run.key &&
                run.at >= (of.since ?? run.at) &&
                run.at < (of.until ?? Infinity),
            )
            .map(({ id }) => id)
            .reverse();
          const found: string[] = [];
          for (let page = await store.list(of); ; page = await store.list({ ...of, before: page.next })) {
            assert.ok(page.runs.length <= of.limit);
            found.push(...page.runs.map(({ id }) => id));
            if (page.next === undefined) break;
          }
          assert.deepEqual(found, expected);
        },
      ),
      { numRuns: 200 },
    );
  });

  it('goes on after a run that was the newest', async () => {
    const { next } = await store.list({ limit: 1 });
    assert.ok(next !== undefined);
    assert.deepEqual((await store.list({ limit: 10, after: next })).runs, []);
    assert.equal((await store.list({ limit: 10, after: next - 3 })).runs.length, 3);
  });
});
