import assert from 'node:assert/strict';
import Dockerode from 'dockerode';
import { Katafleet, type KatafleetOptions, type MemberSettings } from '../../src/app/library.ts';
import type { SwarmOptions } from '../../src/app/swarm.ts';
import { eventually } from './eventually.ts';
import { importScratch } from './scratch.ts';
import type { Testbed } from './testbed.ts';

/** A host's engine, by its socket, which works even if the host's cable is cut. */
export const engineOf = (bed: Testbed, host: string): Dockerode => new Dockerode({ socketPath: bed.socket(host), host: undefined });

/** The node `swarm`, managed by h1. */
export function swarmNode(bed: Testbed, more: Partial<MemberSettings> = {}): MemberSettings {
  return {
    name: 'swarm',
    endpoint: bed.endpoint('h1'),
    labels: {},
    driver: 'auto',
    reserve: { share: 0 },
    withoutMemoryLimits: false,
    cordoned: false,
    ...more,
  };
}

export interface SwarmFleetOptions extends Omit<KatafleetOptions, 'swarm' | 'nodes'> {
  swarm?: SwarmOptions;
  node?: Partial<MemberSettings>;
}

/** A katafleet on the swarm that h1 manages. Its pools end with it unless a key is given. */
export function swarmFleet(bed: Testbed, { swarm = {}, node = {}, ...more }: SwarmFleetOptions = {}): Katafleet {
  return new Katafleet({ ...more, nodes: [swarmNode(bed, node)], swarm: { listen: { host: bed.server, port: 0 }, ...swarm } });
}

/** Returns the host on which a command runs; `word` is a word that only this command has. */
export function hostOf(bed: Testbed, word: string): Promise<string> {
  return eventually(`${word} runs`, 60, () => {
    const host = bed.hosts.find((one) => bed.on(one, ['pgrep', '-f', `${word}$`]).code === 0);
    assert.ok(host !== undefined, 'on no host');
    return Promise.resolve(host);
  });
}

/** Returns the host of a task by its id, for as long as the swarm remembers the task. */
export async function hostOfTask(bed: Testbed, task: string, manager = 'h1'): Promise<string> {
  const node = (await bed.docker(manager, 'inspect', '--type', 'task', '--format', '{{.NodeID}}', task)).trim();
  return (await bed.docker(manager, 'node', 'inspect', '--format', '{{.Description.Hostname}}', node)).trim();
}

/** Ids of the running tasks of pools, as the swarm shows them. */
export async function runningTasks(bed: Testbed, manager = 'h1'): Promise<Set<string>> {
  const names = (await services(bed, manager)).map(({ name }) => name);
  if (names.length === 0) return new Set();
  const args = ['--no-trunc', '--filter', 'desired-state=running', '--format', '{{.ID}} {{.CurrentState}}'];
  const lines = (await bed.docker(manager, 'service', 'ps', ...args, ...names)).split('\n');
  return new Set(lines.filter((line) => line.includes(' Running ')).map((line) => line.slice(0, line.indexOf(' '))));
}

/** Names of all our objects in the swarm, each with its kind. */
export async function leftIn(bed: Testbed, manager = 'h1', stack = 'katafleet'): Promise<string[]> {
  const kinds = ['service', 'secret', 'config', 'network'];
  const found = kinds.map(async (kind) => {
    const names = await bed.docker(manager, kind, 'ls', '--filter', `label=katafleet.stack=${stack}`, '--format', '{{.Name}}');
    return words(names).map((name) => `${kind} ${name}`);
  });
  return (await Promise.all(found)).flat().sort();
}

/** Fails if something of ours is left in the swarm, or a container of ours runs on one of the hosts. */
export async function assertGone(bed: Testbed, manager = 'h1', hosts = bed.hosts): Promise<void> {
  assert.deepEqual(await leftIn(bed, manager), []);
  await eventually('no container of ours runs', 60, async () => {
    const running = hosts.map(async (host) => words(await bed.docker(host, 'ps', '--quiet', '--filter', 'label=katafleet.role')));
    assert.deepEqual((await Promise.all(running)).flat(), []);
  });
}

/** The services of pools as `docker service ls` shows them. */
export async function services(bed: Testbed, manager = 'h1'): Promise<{ name: string; running: number; replicas: number }[]> {
  const lines = await bed.docker(manager, 'service', 'ls', '--filter', 'label=katafleet.role=pool', '--format', '{{.Name}} {{.Replicas}}');
  return lines
    .trim()
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [, name = '', running = '', replicas = ''] = /^(\S+) (\d+)\/(\d+)/.exec(line) ?? [];
      return { name, running: Number(running), replicas: Number(replicas) };
    });
}

/** State and availability of each node, as `docker node ls` shows them. */
export async function nodes(bed: Testbed, manager = 'h1'): Promise<Record<string, string>> {
  const lines = (await bed.docker(manager, 'node', 'ls', '--format', '{{.Hostname}} {{.Status}} {{.Availability}}')).trim().split('\n');
  return Object.fromEntries(lines.map((line) => /^(\S+) (.*)$/.exec(line)?.slice(1) as [string, string]));
}

/** Puts an image that has only a program on each host, with the same id. */
export async function importScratchOn(bed: Testbed, name: string, hosts: readonly string[] = bed.hosts): Promise<void> {
  const [first = 'h1', ...others] = hosts;
  const docker = engineOf(bed, first);
  await importScratch(docker, name);
  for (const host of others) {
    const archive = await docker.getImage(`${name}:latest`).get();
    const answer = await engineOf(bed, host).loadImage(archive);
    for await (const _ of answer);
  }
}

const words = (text: string): string[] => text.split(/\s+/).filter((word) => word !== '');
