import assert from 'node:assert/strict';
import { Rounds } from '../../../src/drivers/swarm/nodes/rounds.ts';
import { VirtualClock } from '../../simulation/clock.ts';

describe('a periodic job', () => {
  let clock: VirtualClock;
  let told: string[];
  let done: string[];
  const rounds = (jobs: Record<string, () => void | Promise<void>>) =>
    new Rounds({ everyMs: 30_000, jobs, onTrouble: (message) => told.push(message), clock });
  const pass = async (ms: number) => {
    let over = false;
    clock.after(ms, () => (over = true));
    await clock.run(() => over);
  };

  beforeEach(() => {
    clock = new VirtualClock();
    [told, done] = [[], []];
  });

  it('is done even if a job before it fails, which is reported once until it succeeds', async () => {
    let faults = 3;
    const fails = () => {
      if ((faults -= 1) >= 0) return Promise.reject(new Error('no'));
      faults = faults === -1 ? 1 : faults;
      return Promise.resolve();
    };
    const both = rounds({ first: fails, second: () => void done.push('second') });
    both.start();
    both.start();
    await pass(95_000);
    assert.deepEqual([done.length, told], [3, ['first: no']]);
    await pass(60_000);
    both.stop();
    assert.deepEqual(told, ['first: no', 'first: no']);
  });

  it('does not wait for a job that never ends, and reports it', async () => {
    const stuck = rounds({ stuck: () => new Promise(() => undefined), after: () => void done.push('after') });
    stuck.start();
    await pass(145_000);
    assert.deepEqual([done, told], [[], []]);
    await pass(10_000);
    assert.deepEqual([done, told], [['after'], ['stuck: it has not ended within 120 s']]);
    await pass(160_000);
    assert.deepEqual([done.length, told.length], [2, 1]);
    stuck.stop();
  });

  it('is not begun again before it has ended, nor after it was stopped', async () => {
    let end: () => void = () => undefined;
    const slow = rounds({
      slow: () => {
        done.push('begun');
        return new Promise((resolve) => (end = resolve));
      },
      after: () => void done.push('after'),
    });
    slow.start();
    await pass(60_000);
    slow.start();
    await pass(60_000);
    assert.deepEqual(done, ['begun']);
    slow.stop();
    end();
    await pass(0);
    slow.start();
    await pass(120_000);
    assert.deepEqual([done, told], [['begun'], []]);
  });
});
