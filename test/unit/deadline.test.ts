import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { abortable, within, withSignals } from '../../src/base/deadline.ts';
import { RunLog } from '../../src/runs/events/run-log.ts';
import { fakeService, placed, runOf } from '../support/fake-service.ts';
import { until } from '../support/until.ts';
import { collectGarbage } from '../support/garbage.ts';

const long = 60_000;
const listeners = (signal: AbortSignal) => getEventListeners(signal, 'abort').length;
const never = () => new Promise<never>(() => undefined);

describe('deadlines', () => {
  it('end work that goes on for too long, after a garbage collection too', async () => {
    const outer = new AbortController();
    const waiting = within(30, never, { signals: [outer.signal], late: () => new Error('late') });
    await collectGarbage();
    await assert.rejects(waiting, /late/);
    assert.equal(listeners(outer.signal), 0);
  });

  it('tell the work to end, and do not wait for it', async () => {
    let told = '';
    const work = (signal: AbortSignal) => {
      signal.addEventListener('abort', () => {
        told = String(signal.reason);
      });
      return never();
    };
    await assert.rejects(within(1, work), /longer than 1 ms/);
    assert.match(told, /longer than 1 ms/);
  });

  it('leave no listener on a signal that lives long, however the work ends', async () => {
    const { signal } = new AbortController();
    assert.equal(await within(long, () => Promise.resolve(1), { signals: [signal, undefined] }), 1);
    await assert.rejects(
      withSignals([signal], () => Promise.reject(new Error('failed'))),
      /failed/,
    );
    await assert.rejects(abortable(signal, Promise.reject(new Error('failed'))), /failed/);
    assert.equal(listeners(signal), 0);
  });

  it('pass on the reason of the signal that aborts first', async () => {
    const [first, second] = [new AbortController(), new AbortController()];
    const waiting = withSignals([first.signal, second.signal], (signal) => abortable(signal, never()));
    second.abort(new Error('the second'));
    first.abort(new Error('the first'));
    await assert.rejects(waiting, /the second/);
    await assert.rejects(within(long, never, { signals: [AbortSignal.abort(new Error('before'))] }), /before/);
    assert.equal(listeners(first.signal) + listeners(second.signal), 0);
  });
});

describe('waiting for a run', () => {
  it('ends with its time, after a garbage collection too', async () => {
    const { service, driver, close } = await fakeService(['a']);
    const { id } = await service.accept(runOf(['hold']), placed());
    const client = new AbortController();
    const waiting = Promise.all([service.wait(id, 50, client.signal), service.wait(id, 50)]);
    await collectGarbage();
    const records = await waiting;
    assert.deepEqual(
      records.map(({ endedAt }) => endedAt),
      [undefined, undefined],
    );
    assert.deepEqual([service.waiters, listeners(client.signal)], [0, 0]);
    await until(() => driver('a').holding === 1);
    driver('a').letGo();
    await close();
  });

  it('leaves nothing behind where the run ends first', async () => {
    const { service, driver, close } = await fakeService(['a']);
    const { id } = await service.accept(runOf(['hold']), placed());
    const signals: WeakRef<AbortSignal>[] = [];
    const wait = () => {
      const { signal } = new AbortController();
      signals.push(new WeakRef(signal));
      return service.wait(id, long, signal);
    };
    const waiting = Promise.all(Array.from({ length: 50 }, wait));
    await until(() => driver('a').holding === 1);
    assert.equal(service.waiters, 50);
    driver('a').letGo();
    assert.ok((await waiting).every(({ state }) => state === 'finished'));
    assert.equal(service.waiters, 0);
    await collectGarbage(5);
    assert.ok(signals.filter((ref) => ref.deref()).length <= 1, 'the signals of those who waited are gone');
    await close();
  });

  it('does not begin if no time is left, or if the caller has aborted', async () => {
    const log = new RunLog();
    await log.next('end', 0);
    await log.next('end', long, AbortSignal.abort());
    assert.equal(log.waiters, 0);
  });
});
