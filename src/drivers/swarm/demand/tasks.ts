import { z } from 'zod';
import { isStatus } from '../../docker/errors.ts';
import { isOver } from '../../docker/task-states.ts';
import type { Managers } from '../nodes/managers.ts';

/** The fields of a task of `GET /tasks` that are read. */
export const Task = z.object({
  ID: z.string(),
  NodeID: z.string().default(''),
  DesiredState: z.string().default(''),
  Status: z.object({
    Timestamp: z.string().default(''),
    State: z.string(),
    Err: z.string().default(''),
    Message: z.string().default(''),
    /** Meaningless before the task has ended. */
    ContainerStatus: z.object({ ExitCode: z.int().optional() }).nullish(),
  }),
});
export type Task = z.output<typeof Task>;

/** Why tasks have not dialled in yet. */
export interface TaskReport {
  /** Each reason once, with the number of tasks that have it. */
  words: string[];
  /** The swarm finds no node with the memory or the CPUs. */
  insufficient: boolean;
  /** Tasks that are being started, or that run and have not dialled in yet. */
  coming: number;
  /** Ids of nodes that lack the image. */
  lacking: string[];
}

/** The states of a task before it runs. */
const underWay: Record<string, string> = {
  new: 'is new',
  allocated: 'waits for its network',
  assigned: 'waits for its node to take it',
  accepted: 'was taken by its node',
  preparing: 'is being prepared (its image may be on its way)',
  ready: 'is ready to start',
  starting: 'is starting',
};

/**
 * Reports why tasks have not dialled in, in the swarm's own words. `connected` are the tasks that have dialled in. Failures before
 * `since` (Unix ms) are ignored. `nameOf` turns node ids into names.
 */
export function taskReport(
  tasks: readonly Task[],
  { connected, since, nameOf }: { connected: ReadonlySet<string>; since: number; nameOf: (node: string) => string },
): TaskReport {
  const counts = new Map<string, number>();
  const lacking = new Set<string>();
  let insufficient = false;
  let coming = 0;
  for (const { ID, NodeID, DesiredState, Status } of tasks) {
    const { State, Err, Message, Timestamp } = Status;
    if (connected.has(ID)) continue;
    const at = NodeID === '' ? '' : ` on ${nameOf(NodeID)}`;
    let why: string | undefined;
    if (State === 'rejected' || State === 'failed') {
      if (Date.parse(Timestamp) < since) continue;
      const said = Err === '' ? Message : Err;
      if (/no such image|not found: manifest|manifest unknown|pull access denied|repository does not exist/i.test(said))
        lacking.add(NodeID);
      why = `${State}${at}: ${said}`;
    } else if (DesiredState !== 'running' || isOver(State)) {
      continue;
    } else if (State === 'pending') {
      if (/insufficient resources/i.test(Err)) insufficient = true;
      else if (Err === '') coming += 1;
      why = Err === '' ? 'waits to be placed' : Err;
    } else {
      coming += 1;
      why = State === 'running' ? `runs${at} and has not dialled in` : `${underWay[State] ?? State}${at}`;
    }
    counts.set(why, (counts.get(why) ?? 0) + 1);
  }
  const words = Array.from(counts, ([why, count]) => `${count} ${count === 1 ? 'task' : 'tasks'}: ${why}`);
  return { words, insufficient, coming, lacking: [...lacking].filter((node) => node !== '') };
}

/** Returns all tasks of a service; none if the service is removed. @throws engine.*, swarm.* */
export function tasksOf(managers: Managers, service: string): Promise<Task[]> {
  return managers.do('ask for tasks', async (docker) => {
    try {
      return z.array(Task).parse(await docker.listTasks({ filters: JSON.stringify({ service: [service] }) }));
    } catch (error) {
      if (isStatus(error, 404)) return [];
      throw error;
    }
  });
}

/** Returns the tasks with these ids that the swarm still knows. @throws engine.*, swarm.* */
export function tasksById(managers: Managers, ids: readonly string[]): Promise<Task[]> {
  return managers.do('ask for tasks', async (docker) =>
    z.array(Task).parse(await docker.listTasks({ filters: JSON.stringify({ id: ids }) })),
  );
}
