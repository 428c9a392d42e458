import assert from 'node:assert/strict';
import { isOver } from '../../../src/drivers/docker/task-states.ts';
import { Task, taskReport } from '../../../src/drivers/swarm/demand/tasks.ts';

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
  it('is nothing for tasks that have dialled in or have served', () => {
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

  it('ignores failures of long ago', () => {
    const old = task('a', 'failed', { err: 'x', at: '2020-01-01T00:00:00Z' });
    assert.deepEqual(report([old]).words, []);
  });

  it('reads what Docker 20.10 says', () => {
    const PortStatus = {};
    const answer = [
      {
        ID: 'ogyejz9d43bux45x1f3gxng46',
        DesiredState: 'running',
        Status: {
          Timestamp: at,
          State: 'pending',
          Message: 'pending task scheduling',
          Err: 'no suitable node (insufficient resources on 2 nodes)',
          PortStatus,
        },
      },
      {
        ID: '8fyu3e9d9jmeijx6kzm6tvly7',
        NodeID: 'n2mny4sqq7cz1da1v7r1dh5d9',
        DesiredState: 'shutdown',
        Status: {
          Timestamp: at,
          State: 'rejected',
          Message: 'preparing',
          Err: 'No such image: sha256:3ada647fee40d299f5d55f2dfbbb6819312dc38f61939c2d3cace78f9f00a0c4',
          ContainerStatus: { ContainerID: '', PID: 0, ExitCode: 0 },
          PortStatus,
        },
      },
      {
        ID: '34xexqcprlc7fz8h5q6oonnpt',
        NodeID: 'n2mny4sqq7cz1da1v7r1dh5d9',
        DesiredState: 'running',
        Status: { Timestamp: at, State: 'assigned', Message: 'scheduler assigned task to node', PortStatus },
      },
      {
        ID: 'h32uozzydlu8u2e0ysxjxtz87',
        DesiredState: 'running',
        Status: {
          Timestamp: at,
          State: 'pending',
          Message: 'pending task scheduling',
          Err: 'no suitable node (scheduling constraints not satisfied on 2 nodes)',
          PortStatus,
        },
      },
    ];
    assert.deepEqual(report(Task.array().parse(answer)), {
      words: [
        '1 task: no suitable node (insufficient resources on 2 nodes)',
        '1 task: rejected on name of n2mny4sqq7cz1da1v7r1dh5d9: No such image: sha256:3ada647fee40d299f5d55f2dfbbb6819312dc38f61939c2d3cace78f9f00a0c4',
        '1 task: waits for its node to take it on name of n2mny4sqq7cz1da1v7r1dh5d9',
        '1 task: no suitable node (scheduling constraints not satisfied on 2 nodes)',
      ],
      insufficient: true,
      coming: 1,
      lacking: ['n2mny4sqq7cz1da1v7r1dh5d9'],
    });
  });

  it('counts those on their way: placed, or running, or not looked at yet; none that failed or finds no place', () => {
    const states = ['new', 'pending', 'assigned', 'preparing', 'starting', 'running', 'failed', 'rejected', 'complete', 'orphaned'];
    assert.equal(report(states.map((state) => task(state, state))).coming, 6);
    assert.equal(report([task('a', 'pending', { err: 'no suitable node (x)' }), task('b', 'running', { desired: 'shutdown' })]).coming, 0);
  });

  it('is over for good, or not', () => {
    for (const state of ['complete', 'failed', 'rejected', 'shutdown', 'orphaned', 'remove']) assert.ok(isOver(state), state);
    for (const state of ['new', 'pending', 'assigned', 'accepted', 'preparing', 'ready', 'starting', 'running']) assert.ok(!isOver(state));
  });
});
