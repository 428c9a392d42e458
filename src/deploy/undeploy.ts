import { setTimeout as sleep } from 'node:timers/promises';
import type Dockerode from 'dockerode';
import { ToldOnce } from '../base/told-once.ts';
import { KatafleetError, messageOf } from '../model/errors.ts';
import { labels } from '../model/labels.ts';
import { engineError, isStatus } from '../drivers/docker/errors.ts';
import type { EngineDriver } from '../drivers/engine/driver.ts';
import { noManager, type SwarmView } from './manager.ts';
import { isUnderWay } from '../drivers/docker/task-states.ts';
import type { TaskView } from './task-words.ts';

export interface UndeployOptions {
  driver: EngineDriver;
  /** The stack's name. */
  name: string;
  /** Whether to remove its state too. */
  volumes: boolean;
  /** Reports what would be removed, and removes nothing. */
  dryRun: boolean;
  timeoutMs: number;
  say: (line: string) => void;
}

type PartKind = 'service' | 'container' | 'secret' | 'config' | 'network' | 'volume';

/** An object of a stack. */
export interface Part {
  kind: PartKind;
  id: string;
  name: string;
  /** The value of the label katafleet.role. */
  role: string | undefined;
}

const everyMs = 200;

/** Sorts parts into the order of removal: katafleet first, so that it creates nothing more; what others use last. */
export function removalOrder(parts: readonly Part[]): Part[] {
  const order: readonly PartKind[] = ['service', 'container', 'secret', 'config', 'network', 'volume'];
  const rank = ({ kind, role }: Part) => (role === 'server' ? -1 : order.indexOf(kind));
  return parts.toSorted((a, b) => rank(a) - rank(b) || a.name.localeCompare(b.name));
}

/**
 * Removes every object with a stack's label, from its swarm and from the engine itself. Resolves with what was removed, after the tasks
 * and containers have ended; a second call finds nothing.
 * @throws deploy.failed for an object that cannot be removed; swarm.unavailable if the engine cannot list its swarm's objects; engine.*
 */
export async function undeploy(options: UndeployOptions): Promise<Part[]> {
  const { driver, name, dryRun, volumes, timeoutMs, say } = options;
  try {
    const docker = await driver.client();
    const { Swarm } = (await docker.info()) as { Swarm?: SwarmView & { NodeID?: string } };
    const state = Swarm?.LocalNodeState ?? 'inactive';
    const unable = state === 'inactive' ? undefined : noManager(Swarm, (await driver.probe()).apiVersion, driver.endpoint);
    if (unable && state !== 'active') throw unable; // the swarm's objects cannot be listed
    const manager = state === 'active' && unable === undefined;
    const all = await partsOf(docker, name, manager);
    if (unable && all.length === 0) throw unable; // the stack may be in the swarm
    if (unable) say(`this removes only objects on this engine itself: ${unable.message}`);
    const parts = removalOrder(volumes ? all : all.filter(({ kind }) => kind !== 'volume'));
    for (const { name: volume } of all.filter(({ kind }) => !volumes && kind === 'volume'))
      say(`volume ${volume}: kept; --volumes removes it`);
    if (dryRun) return parts;
    const until = performance.now() + timeoutMs;
    const services = parts.filter(({ kind }) => kind === 'service');
    const servers = services.filter(({ role }) => role === 'server');
    const elsewhere = manager ? await otherNodes(docker, servers, Swarm?.NodeID) : [];
    await drainServices(docker, servers, until, say);
    for (const part of services) await remove(docker, part, until, say);
    await tasksGone(docker, new Set(services.map(({ id }) => id)), until, say);
    // The server may have created objects while it drained.
    const rest = removalOrder(await partsOf(docker, name, manager)).filter(({ kind }) => volumes || kind !== 'volume');
    for (const part of rest) await remove(docker, part, until, say);
    await tasksGone(docker, new Set(rest.flatMap(({ kind, id }) => (kind === 'service' ? [id] : []))), until, say);
    if (volumes && elsewhere.length > 0)
      say(`a volume ${name}_state may lie on ${elsewhere.join(', ')}: docker volume rm ${name}_state there`);
    return [...services, ...rest];
  } catch (error) {
    throw engineError(error, driver.endpoint, 'undeploy');
  }
}

/** Whether a stack has any object except its state. */
export async function isDeployed(docker: Dockerode, name: string, manager: boolean): Promise<boolean> {
  return (await partsOf(docker, name, manager)).some(({ kind }) => kind !== 'volume');
}

async function partsOf(docker: Dockerode, name: string, manager: boolean): Promise<Part[]> {
  const filters = { label: [`${labels.stack}=${name}`] };
  const mine = (own: Readonly<Record<string, string>> | null | undefined) => own?.[labels.stack] === name;
  const parts: Part[] = [];
  const add = (kind: PartKind, id: string, called: string, own: Readonly<Record<string, string>> | null | undefined) => {
    // An engine ignores a filter that it does not know, and nothing of others may be removed.
    if (mine(own)) parts.push({ kind, id, name: called, role: own?.[labels.role] });
  };
  if (manager) {
    for (const { ID, Spec } of await docker.listServices({ filters })) add('service', ID, Spec?.Name ?? ID, Spec?.Labels);
    for (const { ID, Spec } of await docker.listSecrets({ filters })) add('secret', ID, Spec?.Name ?? ID, Spec?.Labels);
    for (const { ID, Spec } of await docker.listConfigs({ filters })) add('config', ID, Spec?.Name ?? ID, Spec?.Labels);
  }
  for (const { Id, Names, Labels } of await docker.listContainers({ all: true, filters })) {
    if (!('com.docker.swarm.task.id' in Labels)) add('container', Id, Names[0]?.slice(1) ?? Id, Labels);
  }
  for (const { Id, Name, Labels } of await docker.listNetworks({ filters })) add('network', Id, Name, Labels);
  const { Volumes } = await docker.listVolumes({ filters });
  for (const { Name, Labels } of Volumes) add('volume', Name, Name, Labels);
  return parts;
}

type ServiceTask = TaskView & { ServiceID: string };
interface NodeStatus {
  ID: string;
  Description: { Hostname: string };
  Status: { State: string };
}

/** Scales services to zero replicas. As with an update, each task gets its grace. */
async function drainServices(docker: Dockerode, services: readonly Part[], until: number, say: (line: string) => void): Promise<void> {
  for (const { id, name } of services) {
    const { Version, Spec } = (await docker.getService(id).inspect()) as { Version: { Index: number }; Spec: Dockerode.ServiceSpec };
    say(`service ${name}: drains`);
    await docker.getService(id).update({ version: Version.Index, ...Spec, Mode: { Replicated: { Replicas: 0 } } });
  }
  await tasksGone(docker, new Set(services.map(({ id }) => id)), until, say);
}

/** Waits until the nodes have reported the tasks' end: until then their networks and volumes are in use. */
async function tasksGone(docker: Dockerode, services: ReadonlySet<string>, until: number, say: (line: string) => void): Promise<void> {
  if (services.size === 0) return;
  const reported = new ToldOnce<string>(say);
  const tell = (line: string) => reported.tell(line, line);
  await waitFor(until, async () => {
    const [all, nodes] = await Promise.all([docker.listTasks() as Promise<ServiceTask[]>, docker.listNodes() as Promise<NodeStatus[]>]);
    const tasks = all.filter((task) => services.has(task.ServiceID) && isUnderWay(task.Status.State));
    const away = nodes.filter(({ ID, Status }) => Status.State === 'down' && tasks.some(({ NodeID }) => NodeID === ID));
    for (const { ID, Description } of away) {
      const count = tasks.filter(({ NodeID }) => NodeID === ID).length;
      tell(`${count} of its tasks were on ${Description.Hostname}, which is down: they end when it is back`);
    }
    const left = tasks.filter(({ NodeID }) => !away.some(({ ID }) => ID === NodeID));
    if (left.length === 0) return undefined;
    tell(`${left.length} tasks are still ending`);
    return `${left.length} tasks do not end`;
  });
}

async function remove(docker: Dockerode, part: Part, until: number, say: (line: string) => void): Promise<void> {
  const doing: Record<PartKind, () => Promise<unknown>> = {
    service: () => docker.getService(part.id).remove(),
    container: async () => {
      say(`container ${part.name}: drains`);
      await docker
        .getContainer(part.id)
        .stop({ t: Math.max(1, Math.round((until - performance.now()) / 1000)) })
        .catch(unlessGone);
      await docker.getContainer(part.id).remove({ force: true, v: true });
    },
    secret: () => docker.getSecret(part.id).remove(),
    config: () => docker.getConfig(part.id).remove(),
    network: () => docker.getNetwork(part.id).remove(),
    volume: () => docker.getVolume(part.id).remove(),
  };
  await waitFor(until, async () => {
    try {
      await doing[part.kind]();
      return undefined;
    } catch (error) {
      if (isStatus(error, 404)) return undefined;
      if (isStatus(error, 400, 403, 409)) return `the ${part.kind} ${part.name} stays: ${messageOf(error)}`; // it may be in use for a moment yet
      throw error;
    }
  });
  say(`${part.kind} ${part.name}: removed`);
}

function unlessGone(error: unknown): void {
  if (!isStatus(error, 304, 404)) throw error;
}

/** Waits until `look` returns nothing. @throws deploy.failed with what it returned, when the time is over */
async function waitFor(until: number, look: () => Promise<string | undefined>): Promise<void> {
  for (;;) {
    const why = await look();
    if (why === undefined) return;
    if (performance.now() > until) {
      throw new KatafleetError('deploy.failed', why, {
        hint: 'run it again with a longer --timeout; docker node ls shows which node is down',
      });
    }
    await sleep(everyMs);
  }
}

/** Returns the names of the other nodes where the server ran: its volume may be there. */
async function otherNodes(docker: Dockerode, servers: readonly Part[], own: string | undefined): Promise<string[]> {
  const tasks = ((await docker.listTasks()) as ServiceTask[]).filter((task) => servers.some(({ id }) => id === task.ServiceID));
  const ids = new Set(tasks.flatMap(({ NodeID }) => (NodeID === undefined || NodeID === '' || NodeID === own ? [] : [NodeID])));
  const nodes = (await docker.listNodes()) as NodeStatus[];
  return nodes.filter(({ ID }) => ids.has(ID)).map(({ Description }) => Description.Hostname);
}
