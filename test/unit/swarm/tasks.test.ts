import assert from 'node:assert/strict';
import { Task, taskReport } from '../../../src/drivers/swarm/tasks.ts';

const at = '2026-11-25T04:00:00.000000000Z';
const task = (id: string, state: string, more: { err?: string; node?: string; desired?: string; at?: string } = {}) =>
  Task.parse({
    ID: id,
    NodeID: more.node ?? '',
    DesiredState: more.desired ?? 'running',
    Status: { State: state, Timestamp: more.at ?? at, Err: more.err ?? '' },
  });
const report = (tasks: Task[], connected: string[] = [], since = Date.parse(at) - 1_000) =>
  taskReport(tasks, { connected: new Set(connected), since, nameOf: (node) => `name of ${node}` });

describe('why tasks do not come, by the swarm’s own words', () => {
  it('nothing of those that have dialled in, or have served', () => {
    assert.deepEqual(report([task('a', 'running'), task('b', 'complete', { desired: 'shutdown' })], ['a']), {
      words: [],
      insufficient: false,
      coming: 0,
      lacking: [],
    });
  });

  it('no node has the memory', () => {
    const err = 'no suitable node (insufficient resources on 3 nodes)';
    const { words, insufficient } = report([task('a', 'pending', { err }), task('b', 'pending', { err })]);
    assert.deepEqual([words, insufficient], [[`2 tasks: ${err}`], true]);
  });

  it('a node lacks the image', () => {
    const err = 'No such image: sha256:0123';
    const { words, lacking } = report([task('a', 'rejected', { err, node: 'n1', desired: 'shutdown' })]);
    assert.deepEqual([words, lacking], [[`1 task: rejected on name of n1: ${err}`], ['n1']]);
  });

  it('one that runs and does not dial, one that fails, one on its way', () => {
    const { words } = report([
      task('a', 'running', { node: 'n1' }),
      task('b', 'failed', { node: 'n2', err: 'task: non-zero exit (64)', desired: 'shutdown' }),
      task('c', 'preparing', { node: 'n3' }),
      task('d', 'pending'),
    ]);
    assert.deepEqual(words, [
      '1 task: runs on name of n1 and has not dialled in',
      '1 task: failed on name of n2: task: non-zero exit (64)',
      '1 task: is being prepared (its image may be on its way) on name of n3',
      '1 task: waits to be placed',
    ]);
  });

  it('what failed long ago says nothing about now', () => {
    const old = task('a', 'failed', { err: 'x', at: '2020-01-01T00:00:00Z' });
    assert.deepEqual(report([old]).words, []);
  });
});
