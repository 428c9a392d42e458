import assert from 'node:assert/strict';
import { isOver, isUnderWay, phaseOf } from '../../src/drivers/docker/task-states.ts';

describe('a state of a swarm’s task', () => {
  const underWay = ['new', 'allocated', 'pending', 'assigned', 'accepted', 'preparing', 'ready', 'starting', 'running'];
  const over = ['complete', 'shutdown', 'remove', 'failed', 'rejected', 'orphaned'];
  it('is under way or over, never both', () => {
    for (const state of underWay) assert.deepEqual([isUnderWay(state), isOver(state)], [true, false], state);
    for (const state of over) assert.deepEqual([isUnderWay(state), isOver(state)], [false, true], state);
  });

  it('is neither if the state is unknown', () => {
    for (const state of ['', 'paused', 'constructor']) assert.deepEqual([isUnderWay(state), isOver(state)], [false, false], state);
  });

  it('tells a failure from an end', () => {
    assert.deepEqual(
      over.filter((state) => phaseOf(state) === 'failed'),
      ['failed', 'rejected', 'orphaned'],
    );
  });
});
