import assert from 'node:assert/strict';
import { KatafleetError } from '../../../src/model/errors.ts';
import { dispatching, jobOf } from '../../support/dispatching.ts';
import { fakeService, placed, runOf } from '../../support/fake-service.ts';
import { MiB } from '../../support/fake-fleet.ts';
import { until } from '../../support/until.ts';

const refuses = (code: string) => (error: unknown) => error instanceof KatafleetError && error.code === code;

/** Two nodes; the image `x` is on the first, whose memory is taken, and its export waits until it is let go. */
async function copying() {
  const settings = { lacks: { labels: { zone: 'b' } } };
  const parts = await dispatching(['has', 'lacks'], { settings });
  const { driver, look, fleet } = parts;
  driver('has').tags = ['x:latest'];
  driver('lacks').tags = [];
  await fleet.refreshImages();
  for (const name of ['has', 'lacks']) await look(name);
  const send = driver('has').exportImage.bind(driver('has'));
  let go: (() => void) | undefined;
  driver('has').exportImage = async (name) => {
    await new Promise<void>((resolve) => (go = resolve));
    return send(name);
  };
  const job = () => jobOf(['echo'], { image: 'x', constraints: ['zone==b'] });
  return { ...parts, job, copies: () => go !== undefined, letGo: () => go?.() };
}

describe('a run that waits for the copy of its image', () => {
  it('ends at once when it is cancelled, and the copy goes on for another', async () => {
    const { dispatcher, driver, job, copies, letGo, close } = await copying();
    const cancel = new AbortController();
    const first = dispatcher.submit(job(), { signal: cancel.signal });
    await until(copies);
    const second = dispatcher.submit(job());
    await until(() => dispatcher.running === 2);
    cancel.abort();
    await assert.rejects(first, refuses('run.cancelled'));
    assert.equal(driver('lacks').imports, 0, 'the copy has not ended');
    letGo();
    assert.equal((await second).node, 'lacks');
    assert.equal(driver('lacks').imports, 1);
    await close();
  });

  it('ends when it has waited for its queue time', async () => {
    const { dispatcher, fleet, copies, letGo, close } = await copying();
    const run = dispatcher.submit(jobOf(['echo'], { image: 'x', constraints: ['zone==b'], queueMs: 200 }));
    const failed = assert.rejects(run, refuses('queue.deadline'));
    await until(copies);
    await failed;
    letGo();
    await until(() => fleet.cluster.node('lacks')?.booked === 0);
    await close();
  });
});

describe('a node that answers and makes no sandbox', () => {
  it('gets its time, and then the run goes to another, which costs it no try', async () => {
    const { dispatcher, driver, fleet, book, close } = await dispatching(['a', 'b'], {
      acquireMs: 200,
      attempts: 1,
      policy: { pack: 'binpack' },
    });
    let hanging = 0;
    driver('a').create = (_spec, signal) => {
      hanging += 1;
      return new Promise((_resolve, reject) => signal?.addEventListener('abort', () => reject(signal.reason as Error)));
    };
    const results = await Promise.all([1, 2, 3].map(() => dispatcher.submit(jobOf(['echo']))));
    assert.ok(hanging > 0);
    assert.deepEqual(
      results.map(({ node }) => node),
      ['b', 'b', 'b'],
    );
    assert.ok(!book.some((line) => line.startsWith('fail')));
    await dispatcher.idle();
    await fleet.node('a').sandboxes.reap(); // what was being made there may be there
    await close();
  });

  it('is left at once when the run is cancelled while the node prepares the image, and the memory is given back', async () => {
    const { dispatcher, driver, fleet, close } = await dispatching(['a']);
    let go: (() => void) | undefined;
    const prepare = driver('a').prepare.bind(driver('a'));
    driver('a').prepare = async (image) => {
      await new Promise<void>((resolve) => (go = resolve));
      return prepare(image);
    };
    const cancel = new AbortController();
    const run = dispatcher.submit(jobOf(['echo']), { signal: cancel.signal });
    await until(() => go !== undefined);
    cancel.abort();
    await assert.rejects(run, refuses('run.cancelled'));
    await dispatcher.idle();
    assert.equal(fleet.cluster.node('a')?.booked, 0);
    go?.();
    assert.equal((await dispatcher.submit(jobOf(['echo', 'next']))).node, 'a', 'the preparation served another run');
    assert.deepEqual(driver('a').executed, ['echo next']);
    await close();
  });
});

describe('a step of the clock', () => {
  const real = Date.now;
  afterEach(() => (Date.now = real));
  const hour = 3_600_000;

  it('forwards ends no run that may still wait', async () => {
    const full = { settings: { a: { reserve: { bytes: 7680 * MiB } } } };
    const { dispatcher, driver, close } = await dispatching(['a'], full);
    const held = dispatcher.submit(jobOf(['hold']));
    await until(() => driver('a').holding === 1);
    const waits = Array.from({ length: 20 }, () => dispatcher.submit(jobOf(['echo'], { queueMs: 50 * 60_000 })));
    await until(() => dispatcher.waiting === 20);
    Date.now = () => real() + hour;
    const short = dispatcher.submit(jobOf(['echo'], { queueMs: 150 }));
    await assert.rejects(short, refuses('queue.deadline')); // deadlines were looked at after the step
    assert.equal(dispatcher.waiting, 20);
    driver('a').letGo();
    await Promise.all([held, ...waits]);
    await close();
  });

  it('back lets no run wait longer than it may', async () => {
    const full = { settings: { a: { reserve: { bytes: 7680 * MiB } } } };
    const { dispatcher, driver, close } = await dispatching(['a'], full);
    const held = dispatcher.submit(jobOf(['hold']));
    await until(() => driver('a').holding === 1);
    const short = dispatcher.submit(jobOf(['echo'], { queueMs: 300 }));
    await until(() => dispatcher.waiting === 1);
    Date.now = () => real() - hour;
    await assert.rejects(short, refuses('queue.deadline'));
    driver('a').letGo();
    await held;
    await close();
  });

  it('makes no recovered run older than it can be, or younger than now', async () => {
    const { dispatcher, close } = await dispatching(['a']);
    for (const acceptedAt of [real() + hour, 0]) {
      const run = dispatcher.open(jobOf(['echo']), { acceptedAt, recovered: true }, () => undefined);
      assert.ok(run.entry.since <= performance.now(), String(acceptedAt));
      dispatcher.refused(run, new KatafleetError('internal', 'not wanted'));
    }
    await close();
  });
});

describe('the acceptance of a run', () => {
  it('is committed before the run is placed, and its room in the queue is reserved meanwhile and given back', async () => {
    const { service, journal, driver, close } = await fakeService(['a'], { limits: { runs: 1, bytes: MiB, perTenant: 1 } });
    const accept = journal.accept.bind(journal);
    let fails: ((error: Error) => void) | undefined;
    journal.accept = () => new Promise((_resolve, reject) => (fails = reject));
    const first = service.accept(runOf(['echo', 'first']), placed());
    await until(() => fails !== undefined);
    await assert.rejects(service.accept(runOf(['echo', 'second']), placed()), refuses('queue.full'));
    assert.deepEqual([driver('a').executed, service.dispatcher.waiting], [[], 0]);
    fails?.(new KatafleetError('journal.full', 'no room'));
    await assert.rejects(first, refuses('journal.full'));
    assert.equal(service.dispatcher.size, 0);
    journal.accept = accept;
    const { id } = await service.accept(runOf(['echo', 'third']), placed());
    assert.equal((await service.wait(id, 60_000)).state, 'finished');
    assert.deepEqual(driver('a').executed, ['echo third']);
    await close();
  });

  it('joins equal keys that are under way', async () => {
    const { service, driver, close } = await fakeService(['a'], { limits: { runs: 1, bytes: MiB, perTenant: 1 } });
    const answers = await Promise.all([1, 2, 3, 4].map(() => service.accept(runOf(['echo']), placed(), 'k')));
    assert.equal(new Set(answers.map(({ id }) => id)).size, 1);
    assert.deepEqual(answers.filter(({ known }) => !known).length, 1);
    await service.wait(answers[0]?.id ?? '', 60_000);
    assert.deepEqual(driver('a').executed, ['echo']);
    await close();
  });

  it('a result is told after its commit', async () => {
    const { service, journal, driver, close } = await fakeService(['a']);
    const finish = journal.finish.bind(journal);
    let commit: (() => void) | undefined;
    journal.finish = async (...of) => {
      await new Promise<void>((resolve) => (commit = resolve));
      return finish(...of);
    };
    const { id } = await service.accept(runOf(['echo']), placed());
    await until(() => commit !== undefined);
    assert.deepEqual([driver('a').executed, (await service.wait(id, 30)).endedAt], [['echo'], undefined]);
    commit?.();
    assert.equal((await service.wait(id, 60_000)).state, 'finished');
    await close();
  });

  it('a result that can never be stored ends the run with an error', async () => {
    const { service, journal, close } = await fakeService(['a']);
    journal.finish = () => Promise.reject(new Error('the bound is too big'));
    const { id } = await service.accept(runOf(['echo']), placed());
    const { state, error } = await service.wait(id, 60_000);
    assert.deepEqual([state, error?.code], ['failed', 'journal.broken']);
    await close();
  });
});
