import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { Recovery, type Recoverable } from '../../src/runs/recovery.ts';
import { until } from '../support/until.ts';
import { fakeService, placed, runOf } from '../support/fake-service.ts';

const long = 60_000;

describe('a run that ends the server', () => {
  let folder = '';
  let file = '';
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'katafleet-recovery-'));
    file = join(folder, 'journal.db');
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  it('is not tried again once katafleet died in as many tries as there are, and one beside it ends well', async () => {
    const first = await fakeService(['a'], { file });
    const fatal = (await first.service.accept(runOf(['hold', 'fatal']), placed())).id;
    const beside = (await first.service.accept(runOf(['hold', 'beside']), placed())).id;
    await until(() => first.driver('a').holding === 2);
    await until(async () => (await first.journal.counts()).running === 2); // the journal has them
    await first.crash();

    const second = await fakeService(['a'], { file });
    assert.equal(await second.service.recover(), 2);
    await until(() => second.driver('a').holding === 2);
    await until(async () => (await second.journal.counts()).running === 2); // the journal has them
    await second.crash();

    const third = await fakeService(['a'], { file });
    assert.equal(await third.service.recover(), 2);
    await until(() => third.driver('a').holding === 1);
    assert.deepEqual(third.driver('a').executed, ['hold fatal'], 'of those that may have done it one goes at a time');
    await until(async () => (await third.journal.counts()).running === 1); // the journal has them
    await third.crash();

    const fourth = await fakeService(['a'], { file });
    assert.equal(await fourth.service.recover(), 1);
    const { state, error, attempts } = await fourth.service.get(fatal);
    assert.deepEqual([state, error?.code, attempts.length], ['failed', 'run.fatal', 3]);
    assert.match(error?.message ?? '', /3 times, and each time it ended the server/);
    await until(() => fourth.driver('a').holding === 1);
    fourth.driver('a').letGo();
    assert.equal((await fourth.service.wait(beside, long)).state, 'finished');
    await fourth.close();
  });

  it('is not taken for one when katafleet was told to end in it', async () => {
    let id = '';
    for (let start = 0; start < 5; start += 1) {
      const now = await fakeService(['a'], { file });
      if (start === 0) id = (await now.service.accept(runOf(['hold']), placed())).id;
      else assert.equal(await now.service.recover(), 1);
      await until(() => now.driver('a').holding === 1);
      now.service.stop();
      for (const { sandboxes } of now.fleet.all) sandboxes.breakOff(); // the grace is over
      await now.close();
    }
    const last = await fakeService(['a'], { file });
    assert.equal(await last.service.recover(), 1);
    await until(() => last.driver('a').holding === 1);
    last.driver('a').letGo();
    const { state, attempts } = await last.service.wait(id, long);
    assert.deepEqual([state, attempts.length], ['finished', 6]);
    await last.close();
  });

  it('takes up what fits into memory, and the rest as that ends; what waits can be waited for and cancelled', async () => {
    const before = await fakeService(['a'], { file });
    const ids: string[] = [];
    const big = { files: [{ path: 'f', mode: 0o644, mtimeNs: 0n, content: Buffer.alloc(100_000) }] };
    for (const name of ['one', 'two', 'three']) ids.push((await before.service.accept(runOf(['hold', name], big), placed())).id);
    const [, two = '', three = ''] = ids;
    await until(() => before.driver('a').holding === 3);
    await before.crash();
    const after = await fakeService(['a'], { file });
    assert.equal(await after.service.recover(150_000), 3);
    await until(() => after.driver('a').holding === 1);
    assert.equal(after.service.jobOf(two), undefined, 'its files are in the journal only');
    assert.equal((await after.service.cancel(two)).state, 'cancelled');
    const waiting = after.service.wait(three, long);
    after.driver('a').letGo();
    await until(() => after.driver('a').holding === 1);
    after.driver('a').letGo();
    assert.equal((await waiting).state, 'finished');
    assert.deepEqual(after.driver('a').executed, ['hold one', 'hold three']);
    await after.close();
  });
});

describe('recovery', () => {
  it('takes each run up once, within its bytes, and suspects one at a time', async () => {
    const run = fc.record({ bytes: fc.nat(100), abandoned: fc.nat(3) });
    await fc.assert(
      fc.asyncProperty(
        fc.array(run, { maxLength: 20 }),
        fc.nat(200),
        fc.integer({ min: 1, max: 30 }),
        async (given, mostBytes, pageRuns) => {
          const runs: Recoverable[] = given.map((one, index) => ({ ...one, id: String(index) }));
          const under = new Map<Recoverable, () => void>();
          const begun: string[] = [];
          const start = (one: Recoverable) => {
            begun.push(one.id);
            return new Promise<void>((resolve) => under.set(one, resolve));
          };
          const page = (after = 0) =>
            Promise.resolve({
              runs: runs.slice(after, after + pageRuns),
              ...(after + pageRuns < runs.length ? { next: after + pageRuns } : {}),
            });
          const recovery = new Recovery({ page, sort: () => 'old', mostBytes, suspectFrom: 2, start, onTrouble: assert.ifError });
          await recovery.begin();
          while (under.size > 0) {
            const now = [...under.keys()];
            assert.ok(now.filter(({ abandoned }) => abandoned >= 2).length <= 1);
            const bytes = now.reduce((sum, one) => sum + one.bytes, 0);
            assert.ok(bytes <= mostBytes || now.filter((one) => one.bytes > 0).length === 1);
            const [first] = under;
            if (first) under.delete(first[0]);
            first?.[1]();
            await new Promise(setImmediate);
          }
          assert.deepEqual(begun.toSorted(), runs.map(({ id }) => id).toSorted());
          assert.ok(!runs.some(({ id }) => recovery.has(id)));
        },
      ),
      { numRuns: 100 },
    );
  });
});
