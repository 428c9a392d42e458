import assert from 'node:assert/strict';
import { mock } from 'node:test';
import { ByteBudget } from '../../../src/base/byte-budget.ts';
import { mostWaitMs, pace, PacedRoom } from '../../../src/runs/room/paced-room.ts';
import { dispatching, jobOf } from '../../support/dispatching.ts';
import { MiB } from '../../support/fake-fleet.ts';
import { until } from '../../support/until.ts';

const most = 1_000;
const minute = 60_000;
/** A room's own clock is not the timers' one: it goes on meanwhile. */
const little = 1_000;
/** Lets everything happen that waits for no time. */
const settled = async () => {
  for (let turns = 0; turns < 50; turns += 1) await new Promise(setImmediate);
};

/** Time passes as timers see it that are set again and again. */
const pass = (ms: number) => {
  for (let passed = 0; passed < ms; passed += little) mock.timers.tick(little);
};

/** What work comes to while time passes. */
async function passing<T>(work: Promise<T>): Promise<T> {
  let over = false;
  void work.finally(() => (over = true)).catch(() => undefined);
  while (!over) {
    mock.timers.tick(20);
    await settled();
  }
  return work;
}

/** A dispatcher over one node, where others hold all the room for results, and a run that has ended and waits for room for its file. */
async function crowded(signal?: AbortSignal) {
  const budget = new ByteBudget(most);
  const parts = await dispatching(['a'], { results: budget });
  const others = budget.open();
  await others.take(most);
  const running = parts.dispatcher.submit(jobOf(['give', String(MiB)]), signal ? { signal } : {});
  await until(() => parts.driver('a').executed.length === 1);
  await settled();
  return { ...parts, budget, others, running };
}

describe('room for results', () => {
  beforeEach(() => mock.timers.enable({ apis: ['setTimeout'] }));
  afterEach(() => mock.timers.reset());

  it('is held for a minute, and for the time that its bytes take at the slowest rate, while others wait', async () => {
    let slow: Error | undefined;
    const waiting = { wait: () => assert.fail('there is room'), tooSlow: (why: Error) => void (slow = why) };
    const budget = new ByteBudget(100 * minute * pace.bytesPerMs);
    const paced = new PacedRoom(budget.open(), waiting);
    for (let file = 0; file < 100; file += 1) await paced.take(minute * pace.bytesPerMs);
    pass(300 * minute);
    assert.equal(slow, undefined);
    void budget.open().take(1);
    pass(101 * minute - little);
    assert.equal(slow, undefined);
    pass(little);
    assert.match(String(slow), /too slowly/);
  });

  it('is not timed any more when all is there', async () => {
    const waiting = { wait: () => assert.fail('there is room'), tooSlow: () => assert.fail('it was in time') };
    const paced = new PacedRoom(new ByteBudget(most).open(), waiting);
    await paced.take(most);
    paced.end();
    pass(10 * minute);
  });

  it('goes to others when a supervisor announces a file and sends nothing of it; the second time that is the run’s own loss', async () => {
    const budget = new ByteBudget(most);
    const { dispatcher, book, driver, close } = await dispatching(['a'], { results: budget });
    const hour = { limits: { wallMs: 60 * minute } };
    const job = jobOf(['announce', String(most)]);
    const silent = dispatcher.submit({ ...job, steps: job.steps.map((step) => ({ ...step, ...hour })) });
    await until(() => budget.held === most);
    const other = dispatcher.submit(jobOf(['give', '5']));
    await until(() => driver('a').executed.length === 2);
    await settled();
    pass(minute + little);
    assert.deepEqual((await other).outcome, { kind: 'exited', code: 0 });
    await until(() => {
      mock.timers.tick(20); // the queue looks again
      return budget.held === most;
    });
    const another = dispatcher.submit(jobOf(['give', '5']));
    await until(() => driver('a').executed.length === 4);
    await settled();
    pass(minute + little);
    assert.equal((await another).outcome.kind, 'exited');
    assert.equal((await silent).outcome.kind, 'lost');
    assert.equal(book.filter((line) => line.startsWith('begin')).length, 4);
    assert.equal(budget.held, 0);
    await passing(close());
  });

  it('is waited for longer than the steps may take, and that is no loss', async () => {
    const { book, budget, others, running, close } = await crowded();
    mock.timers.tick(mostWaitMs - little);
    await settled();
    others.close();
    const { outcome, changes } = await running;
    assert.deepEqual([outcome, changes.files.length], [{ kind: 'exited', code: 0 }, 1]);
    assert.deepEqual(book, ['begin 1 on a', 'finish 1']);
    assert.equal(budget.held, 0);
    await passing(close());
  });

  it('is waited for until the run is cancelled; what it printed is kept', async () => {
    const stop = new AbortController();
    const { budget, others, running, close } = await crowded(stop.signal);
    stop.abort();
    const { outcome, steps, changes } = await running;
    assert.deepEqual([outcome, steps[0]?.stdout.toString(), changes.files], [{ kind: 'cancelled' }, `give ${MiB}`, []]);
    assert.equal(budget.held, most);
    others.close();
    assert.equal(budget.held, 0);
    await passing(close());
  });

  it('is waited for until the node is lost: then the run is tried again', async () => {
    const { book, others, running, lose, look, driver, close } = await crowded();
    await lose('a');
    await until(() => book.includes('lost 1'));
    driver('a').faults = {};
    others.close();
    await look('a', 2);
    assert.deepEqual((await passing(running)).outcome, { kind: 'exited', code: 0 });
    await passing(close());
  });

  it('is waited for ten minutes at most: then the run is tried again, and is not to blame', async () => {
    const { book, others, running, close } = await crowded();
    mock.timers.tick(mostWaitMs);
    await until(() => book.includes('begin 2 on a'));
    await settled();
    mock.timers.tick(mostWaitMs);
    await until(() => book.includes('begin 3 on a'));
    others.close();
    assert.deepEqual((await running).outcome, { kind: 'exited', code: 0 });
    assert.deepEqual(book, ['begin 1 on a', 'lost 1', 'begin 2 on a', 'lost 2', 'begin 3 on a', 'finish 3']);
    await passing(close());
  });
});
