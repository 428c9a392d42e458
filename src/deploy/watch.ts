import { setTimeout as sleep } from 'node:timers/promises';
import type Dockerode from 'dockerode';
import { KatafleetError } from '../model/errors.ts';
import { inSeconds } from '../model/quantity.ts';
import { logLines } from './log-lines.ts';
import { deployedLabel } from './spec.ts';
import { isUnderWay } from '../drivers/docker/task-states.ts';
import { hasFailed, taskHint, type TaskView, taskWords } from './task-words.ts';

type DeployedTask = TaskView & { Spec: { ContainerSpec?: { Labels?: Record<string, string> | null } } };
interface ServiceView {
  ID: string;
  UpdateStatus?: { State?: string; Message?: string };
}

/** How often the swarm is asked for the tasks' states (ms): it does not report changes by itself. */
const everyMs = 250;
/** The wait fails after this many failed tasks: the next one would fail too. */
const mostFailures = 3;

export interface Watched {
  docker: Dockerode;
  /** The service's name. */
  name: string;
  /** The label's value that marks the tasks of this deployment. */
  hash: string;
  /** Ids of tasks of earlier deployments: their failures are ignored, even if this deployment changed nothing. */
  known: ReadonlySet<string>;
  timeoutMs: number;
  say: (line: string) => void;
}

/**
 * Waits until the task of a deployment is healthy, and reports its progress.
 * @throws deploy.failed with the reason: it failed several times, was rolled back, or the time is over
 */
export async function untilHealthy({ docker, name, hash, known, timeoutMs, say }: Watched): Promise<{ address: string; node: string }> {
  const until = performance.now() + timeoutMs;
  let said = '';
  const tell = (line: string) => {
    if (line !== said) say(line);
    said = line;
  };
  for (;;) {
    const [service, tasks, nodes] = await Promise.all([
      docker.getService(name).inspect() as Promise<ServiceView>,
      docker.listTasks({ filters: { service: [name] } }) as Promise<DeployedTask[]>,
      nodesOf(docker),
    ]);
    const words = (task: DeployedTask) => taskWords(task, nodes.get(task.NodeID ?? '')?.name ?? 'a node');
    const newestFirst = tasks.toSorted((a, b) => b.CreatedAt.localeCompare(a.CreatedAt));
    const own = newestFirst.filter(({ Spec }) => Spec.ContainerSpec?.Labels?.[deployedLabel] === hash);
    const current = own[0];
    const failed = own.filter((task) => hasFailed(task) && !known.has(task.ID));
    const fail = async (why: string) => {
      const last = failed[0] ?? current;
      const hint = last && taskHint(last);
      const log = failed.length > 0 ? await lastWords(docker, service.ID, failed[0]?.ID ?? '') : '';
      return new KatafleetError('deploy.failed', `${name} ${why}${log === '' ? '' : `; its last output:\n${log}`}`, { hint });
    };
    if (/^rollback/.test(service.UpdateStatus?.State ?? ''))
      throw await fail(`was rolled back to the previous version: ${failed[0] ? words(failed[0]) : (service.UpdateStatus?.Message ?? '')}`);
    if (current?.Status.State === 'running' && current.DesiredState === 'running') {
      tell(`${name} ${words(current)}`);
      const node = nodes.get(current.NodeID ?? '');
      return { node: node?.name ?? '', address: node?.address ?? '' };
    }
    if (failed[0] && failed.length >= mostFailures) throw await fail(`failed ${failed.length} times: ${words(failed[0])}`);
    const former = newestFirst.find((task) => isUnderWay(task.Status.State) && !own.includes(task));
    const shown =
      failed[0] && current && !hasFailed(current) ? `${words(current)}, after it ${words(failed[0])}` : current && words(current);
    if (shown !== undefined && current?.Status.State !== 'new') tell(`${name} ${shown}`);
    else if (former) tell(`${name}: the previous task drains on ${nodes.get(former.NodeID ?? '')?.name ?? 'a node'}`);
    if (performance.now() > until) {
      const where = current ? words(current) : former ? 'still waits for the previous task to drain' : 'has no task';
      throw await fail(`is not healthy after ${inSeconds(timeoutMs)}: it ${where}`);
    }
    await sleep(everyMs);
  }
}

async function nodesOf(docker: Dockerode): Promise<Map<string, { name: string; address: string }>> {
  const nodes = (await docker.listNodes()) as { ID: string; Description: { Hostname: string }; Status: { Addr: string } }[];
  return new Map(nodes.map(({ ID, Description, Status }) => [ID, { name: Description.Hostname, address: Status.Addr }]));
}

/** Returns the last output of a task's container, on any node; nothing if the engine cannot give it. */
async function lastWords(docker: Dockerode, service: string, task: string): Promise<string> {
  const raw: unknown = await docker
    .getService(service)
    .logs({ stdout: true, stderr: true, tail: 40, details: true, follow: false })
    .catch(() => undefined); // the failure is reported without the log then
  if (!Buffer.isBuffer(raw)) return '';
  return logLines(raw)
    .filter((line) => line.includes(task))
    .map((line) => line.replace(/^\S*com\.docker\.swarm\.\S+ /, '  '))
    .slice(-6)
    .join('\n');
}
