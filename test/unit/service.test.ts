import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { KatafleetError } from '../../src/model/errors.ts';
import { MiB } from '../support/fake-fleet.ts';
import { until } from '../support/until.ts';
import { fakeService, placed, runOf } from '../support/fake-service.ts';

const refuses = (code: string) => (error: unknown) => error instanceof KatafleetError && error.code === code;
const long = 60_000;
const one = { settings: { a: { reserve: { bytes: 7680 * MiB } } } }; // room for one run at a time

describe('runs that are written down', () => {
  it('are accepted before they are told of, and kept with their result', async () => {
    const { service, close } = await fakeService(['a']);
    const { id, known } = await service.accept(runOf(['echo', 'hi']), placed());
    assert.equal(known, false);
    assert.equal((await service.get(id)).id, id);
    const record = await service.wait(id, long);
    assert.deepEqual([record.state, record.result?.steps[0]?.stdout.toString(), record.attempts.length], ['finished', 'echo hi', 1]);
    assert.equal(service.jobOf(id), undefined);
    await assert.rejects(service.get('nobody'), refuses('run.unknown'));
    await close();
  });

  it('a wait ends with its time or its client, and the run goes on', async () => {
    const { service, driver, close } = await fakeService(['a']);
    const { id } = await service.accept(runOf(['hold']), placed());
    assert.equal((await service.wait(id, 1)).endedAt, undefined);
    const gone = new AbortController();
    const waiting = service.wait(id, long, gone.signal);
    gone.abort();
    assert.equal((await waiting).endedAt, undefined);
    assert.equal((await service.wait(id, long, AbortSignal.abort())).endedAt, undefined, 'gone before it began to wait');
    await until(() => driver('a').holding === 1);
    driver('a').letGo();
    assert.equal((await service.wait(id, long)).state, 'finished');
    await close();
  });

  it('the same key is the same run, asked for one after another or at once', async () => {
    const { service, driver, close } = await fakeService(['a']);
    const answers = await Promise.all([1, 2, 3].map(() => service.accept(runOf(['echo']), placed(), 'k')));
    assert.equal(new Set(answers.map(({ id }) => id)).size, 1);
    assert.deepEqual(answers.map(({ known }) => known).sort(), [false, true, true]);
    await service.wait(answers[0]?.id ?? '', long);
    assert.deepEqual(await service.accept(runOf(['echo']), placed(), 'k'), { id: answers[0]?.id, known: true });
    await assert.rejects(service.accept(runOf(['other']), placed(), 'k'), refuses('request.conflict'));
    assert.equal((await service.accept(runOf(['other']), placed({ tenant: 'b' }), 'k')).known, false);
    await until(() => driver('a').executed.length === 2);
    await close();
  });

  it('a key asks for what was said, whatever the defaults have become', async () => {
    const { service, close } = await fakeService(['a']);
    const said = () => ({ image: 'any', command: ['echo'] });
    const { id } = await service.accept(runOf(['echo']), placed(), 'k', said());
    assert.deepEqual(await service.accept(runOf(['echo'], { profile: { wallMs: 99 } }), placed({ queueMs: 1 }), 'k', said()), {
      id,
      known: true,
    });
    await assert.rejects(service.accept(runOf(['echo']), placed(), 'k', { ...said(), priority: 1 }), refuses('request.conflict'));
    await service.wait(id, long);
    await close();
  });

  it('a refused run is not recorded', async () => {
    const { service, driver, journal, close } = await fakeService(['a'], { ...one, limits: { runs: 1, bytes: MiB, perTenant: 1 } });
    await assert.rejects(service.accept(runOf(['x'], { image: 'nope' }), placed(), 'k'), refuses('image.unknown'));
    await service.accept(runOf(['hold']), placed());
    await until(() => driver('a').holding === 1);
    await service.accept(runOf(['waits']), placed());
    await assert.rejects(service.accept(runOf(['full']), placed(), 'k'), refuses('queue.full'));
    assert.equal((await journal.list({ limit: 10 })).runs.length, 2);
    driver('a').letGo();
    await until(() => service.dispatcher.running + service.dispatcher.waiting === 0);
    assert.equal((await service.accept(runOf(['full']), placed(), 'k')).known, false, 'its key is free');
    await close();
  });

  it('cancelled: one that waits never begins, one that runs keeps what it printed, one that is over stays as it is', async () => {
    const { service, driver, close } = await fakeService(['a'], one);
    const runs = (await service.accept(runOf(['hold', 'x']), placed())).id;
    await until(() => driver('a').holding === 1);
    const waits = (await service.accept(runOf(['never']), placed())).id;
    assert.deepEqual([(await service.cancel(waits)).state, (await service.get(waits)).attempts.length], ['cancelled', 0]);
    const record = await service.cancel(runs);
    assert.deepEqual(
      [record.state, record.result?.outcome.kind, record.result?.steps[0]?.stdout.toString()],
      ['finished', 'cancelled', 'hold x'],
    );
    assert.deepEqual(await service.cancel(runs), record);
    await assert.rejects(service.cancel('nobody'), refuses('run.unknown'));
    assert.ok(!driver('a').executed.includes('never'));
    await close();
  });

  it('a run that fails says why, for as long as it is kept', async () => {
    const { service, driver, close } = await fakeService(['a'], { attempts: 1 });
    driver('a').faults = { failCreates: 5 };
    const { id } = await service.accept(runOf(['x']), placed());
    const { state, error, attempts } = await service.wait(id, long);
    assert.deepEqual([state, error?.code, attempts.map((attempt) => attempt.state)], ['failed', 'engine.failed', ['failed']]);
    await close();
  });
});

describe('katafleet is killed and started again', () => {
  let folder: string;
  let file: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'katafleet-service-'));
    file = join(folder, 'journal.db');
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  it('accepted runs finish, finished runs do not run again, and a key returns the same run', async () => {
    const before = await fakeService(['a'], { ...one, file });
    const done = (await before.service.accept(runOf(['echo', 'done']), placed(), 'k0')).id;
    await before.service.wait(done, long);
    const ids = [];
    for (const [index, argv] of [
      ['hold', 'it'],
      ['echo', 'b'],
      ['echo', 'c'],
    ].entries()) {
      ids.push((await before.service.accept(runOf(argv), placed(), `k${index + 1}`)).id);
    }
    await until(() => before.driver('a').holding === 1);
    await before.crash();

    const after = await fakeService(['a'], { ...one, file });
    assert.equal(await after.service.recover(), 3);
    assert.equal((await after.service.get(ids[0] ?? '')).placing.tenant, 'default');
    const again = await after.service.accept(runOf(['hold', 'it']), placed(), 'k1');
    assert.deepEqual(again, { id: ids[0], known: true });
    await until(() => after.driver('a').holding === 1);
    after.driver('a').letGo();
    const records = await Promise.all(ids.map((id) => after.service.wait(id, long)));
    assert.deepEqual(
      records.map(({ state }) => state),
      ['finished', 'finished', 'finished'],
    );
    assert.deepEqual(
      records[0]?.attempts.map(({ number, state }) => [number, state]),
      [
        [1, 'lost'],
        [3, 'accepted'], // the number after the crash may have been used, so it is left out
      ],
    );
    assert.equal(records[0]?.result?.attempt, 3);
    assert.deepEqual(after.driver('a').executed, ['hold it', 'echo b', 'echo c'], 'in the order in which they were accepted');
    assert.deepEqual(await after.service.accept(runOf(['echo', 'done']), placed(), 'k0'), { id: done, known: true });
    await after.close();
  });

  it('a full queue does not keep out what was accepted before', async () => {
    const limits = { runs: 3, bytes: MiB, perTenant: 3 };
    const before = await fakeService(['a'], { ...one, file, limits });
    await before.service.accept(runOf(['hold']), placed());
    await until(() => before.driver('a').holding === 1);
    for (let index = 0; index < 3; index += 1) await before.service.accept(runOf(['echo', String(index)]), placed());
    await before.crash();
    const after = await fakeService(['a'], { ...one, file, limits: { ...limits, runs: 1, perTenant: 1 } });
    assert.equal(await after.service.recover(), 4);
    await until(() => after.driver('a').holding === 1);
    after.driver('a').letGo();
    await until(async () => (await after.journal.counts()).finished === 4);
    await after.close();
  });

  it('one that can’t be read any more fails with that, and the others are taken up', async () => {
    const before = await fakeService(['a'], { ...one, file });
    await before.service.accept(runOf(['hold']), placed());
    await until(() => before.driver('a').holding === 1);
    const broken = (await before.service.accept(runOf(['echo', 'broken']), placed())).id;
    const fine = (await before.service.accept(runOf(['echo', 'fine']), placed())).id;
    await before.crash();
    const db = new Database(file);
    db.prepare("UPDATE requests SET bytes = x'0100' WHERE run = (SELECT sequence FROM runs WHERE id = ?)").run(broken);
    db.close();
    const after = await fakeService(['a'], { ...one, file });
    assert.equal(await after.service.recover(), 3);
    await until(async () => (await after.service.get(broken)).endedAt !== undefined);
    assert.deepEqual(
      [(await after.service.get(broken)).state, (await after.service.get(broken)).error?.code],
      ['failed', 'journal.broken'],
    );
    await until(() => after.driver('a').holding === 1);
    after.driver('a').letGo();
    assert.equal((await after.service.wait(fine, long)).state, 'finished');
    await after.close();
  });

  it('an orderly stop leaves waiting runs to the next start', async () => {
    const before = await fakeService(['a'], { ...one, file });
    const runs = (await before.service.accept(runOf(['hold']), placed())).id;
    await until(() => before.driver('a').holding === 1);
    const waits = (await before.service.accept(runOf(['echo']), placed())).id;
    before.service.dispatcher.stop();
    await assert.rejects(before.service.accept(runOf(['late']), placed()), refuses('service.stopping'));
    const settled = before.service.settle(long);
    before.driver('a').letGo();
    await settled;
    assert.deepEqual([(await before.service.get(runs)).state, (await before.service.get(waits)).state], ['finished', 'waiting']);
    await before.close();
    const after = await fakeService(['a'], { ...one, file });
    assert.equal(await after.service.recover(), 1);
    assert.equal((await after.service.wait(waits, long)).state, 'finished');
    await after.close();
  });
});
