import { eventually } from '../../support/eventually.ts';
import type { Service } from '../../support/service.ts';
import { join } from 'node:path';
import { processesWith, strayFiles } from '../load/left-over.ts';
import type { Testbed } from '../../support/testbed.ts';
import type { Host } from './faults.ts';
import type { Ground } from './ground.ts';

/** Longest time for the sandboxes of ended runs to be removed, s. */
const sweepSeconds = 120;

export interface Remains {
  ground: Ground;
  service: Service;
  /** The mark of all processes that this test started. */
  mark: string;
}

/**
 * Ends katafleet in order and returns what is left of it: containers by their label, processes, and what a swarm keeps for no service.
 * A swarm's services stay for the next katafleet, with as many containers as they are to have.
 */
export async function leftOver({ ground, service, mark }: Remains): Promise<string[]> {
  const left: string[] = [];
  const single = ground.hosts.filter(({ isManager }) => !isManager);
  const swarm = ground.hosts.filter(({ isManager }) => isManager);
  const note = (error: unknown) => void left.push(`${(error as Error).message}: ${String((error as Error).cause)}`);
  await eventually('each node has its idle sandboxes only', sweepSeconds, async () => {
    const nodes = await service.nodes();
    for (const { bed, host, node } of single) {
      const { idle = 0, busy } = nodes[node]?.sandboxes ?? {};
      const there = await containersOn(bed, host);
      if (busy !== 0 || there.length !== idle) throw new Error(`${node}: ${there.length} containers, ${idle} idle, ${busy} busy`);
    }
    if ((nodes['swarm']?.sandboxes?.busy ?? 0) > 0) throw new Error('the swarm has busy sandboxes');
  }).catch(note);
  const code = await service.stop();
  if (code !== 0) left.push(`katafleet ended with ${code} after SIGTERM`);
  for (const { bed, host } of single) for (const one of await containersOn(bed, host)) left.push(`container ${one} on ${host}`);
  const [manager] = swarm;
  if (manager) {
    await eventually('the swarm runs its services only', sweepSeconds, async () => {
      const lines = await manager.bed.docker(manager.host, 'service', 'ls', '--format', '{{.ID}} {{.Replicas}}');
      const services = lines.split('\n').filter((line) => line !== '');
      const wanted = services.reduce((sum, line) => sum + Number(/\/(\d+)/.exec(line)?.[1] ?? 0), 0);
      const ids = services.map((line) => line.slice(0, line.indexOf(' '))); // only their beginnings
      const there = (await Promise.all(swarm.map(containersOf))).flat();
      const running = there.filter(({ state }) => state === 'running').length;
      if (running > wanted) throw new Error(`${running} containers run for ${wanted} tasks`);
      // The swarm keeps a few finished ones of each service that is there.
      const strays = there.filter(({ service: of }) => !ids.some((id) => of.startsWith(id)));
      if (strays.length > 0) throw new Error(`${strays.length} containers of no service: ${JSON.stringify(strays.slice(0, 3))}`);
    }).catch(note);
  }
  left.push(...strayFiles(join(ground.disk.folder, 'journal.db')));
  left.push(...processesWith(mark).map((text) => `process ${text}`));
  return left;
}

/** Containers of katafleet on a host, in any state: id, name, role and state of each. */
async function containersOn(bed: Testbed, host: string): Promise<string[]> {
  const format = '{{.ID}} {{.Names}} {{.Label "katafleet.role"}} {{.State}}';
  const lines = await bed.docker(host, 'ps', '--all', '--filter', 'label=katafleet.role', '--format', format);
  return lines.split('\n').filter((line) => line !== '');
}

/** Containers of katafleet on a machine of a swarm, in any state. */
async function containersOf({ bed, host }: Host): Promise<{ host: string; service: string; state: string }[]> {
  const format = '{{.Label "com.docker.swarm.service.id"}} {{.State}}';
  const lines = await bed.docker(host, 'ps', '--all', '--filter', 'label=katafleet.role', '--format', format);
  return lines.split('\n').flatMap((line) => {
    const [service, state] = line.split(' ');
    return service === undefined || state === undefined ? [] : [{ host, service, state }];
  });
}
