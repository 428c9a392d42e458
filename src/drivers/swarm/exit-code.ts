import { setTimeout as sleep } from 'node:timers/promises';
import { abortable } from '../../base/deadline.ts';
import { isOver } from '../docker/task-states.ts';
import type { Task } from './demand/tasks.ts';

/** How long a swarm may take to report that a task has ended, and how often it is asked meanwhile, ms. */
const [longestMs, everyMs] = [3_000, 250];

/**
 * Returns the exit code of a task whose connection its container has ended; undefined if the swarm does not report it in time or does
 * not know it. @throws what `tasks` throws, the signal's reason
 */
export async function exitCode(
  task: string,
  tasks: (ids: readonly string[]) => Promise<readonly Task[]>,
  signal?: AbortSignal,
): Promise<number | undefined> {
  const until = performance.now() + longestMs;
  for (;;) {
    const found = (await abortable(signal, tasks([task]))).find(({ ID }) => ID === task);
    if (!found) return undefined;
    // Before the task is over the field is 0.
    if (isOver(found.Status.State)) return found.Status.ContainerStatus?.ExitCode;
    if (performance.now() > until) return undefined;
    await sleep(everyMs, undefined, signal ? { signal } : {});
  }
}
