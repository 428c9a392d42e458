import assert from 'node:assert/strict';
import { KatafleetError } from '../../../src/model/errors.ts';
import { Departures } from '../../../src/drivers/swarm/demand/departures.ts';

describe('tasks whose connection did not show their end', () => {
  const open = new AbortController().signal;

  it('are asked for in one call, and each resolves when its task has ended', async () => {
    const asked: string[][] = [];
    const over = (tasks: readonly string[]) => {
      asked.push([...tasks]);
      return Promise.resolve(asked.length === 1 ? ['a', 'b'] : tasks);
    };
    const departures = new Departures({ endedOf: over, signal: open, everyMs: 1 });
    const told: string[] = [];
    const first = departures.of('first').then(() => told.push('first'));
    await Promise.all(['a', 'b', 'c', 'c'].map((task) => departures.of(task).then(() => told.push(task))));
    await first;
    assert.deepEqual(asked[0], ['first']);
    assert.deepEqual(asked[1], ['first', 'a', 'b', 'c']);
    assert.equal(asked.length, 2);
    assert.deepEqual(told.sort(), ['a', 'b', 'c', 'c', 'first']);
  });

  it('asks a swarm that does not answer again, and reports one that does not answer in time', async () => {
    let asked = 0;
    const failing = new Departures({
      endedOf: () => ((asked += 1) < 3 ? Promise.reject(new Error('no leader')) : Promise.resolve(['a'])),
      signal: open,
      everyMs: 1,
    });
    await failing.of('a');
    assert.equal(asked, 3);
    const never = new Departures({ endedOf: () => Promise.resolve([]), signal: open, everyMs: 1, longestMs: 5 });
    await assert.rejects(never.of('a'), (error) => error instanceof KatafleetError && error.code === 'engine.timeout');
    const broken = new Departures({ endedOf: () => Promise.reject(new Error('no leader')), signal: open, everyMs: 1, longestMs: 5 });
    await assert.rejects(broken.of('a'), /no leader/);
  });

  it('all waits end with it', async () => {
    const closing = new AbortController();
    const departures = new Departures({ endedOf: () => Promise.resolve([]), signal: closing.signal, everyMs: 1 });
    const gone = departures.of('a');
    closing.abort();
    await gone;
  });
});
