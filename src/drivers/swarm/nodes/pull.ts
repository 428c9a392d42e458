import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type Dockerode from 'dockerode';
import { z } from 'zod';
import { minute } from '../../../base/units.ts';
import { isStatus } from '../../docker/errors.ts';
import { supervisorPath } from '../../docker/isolation.ts';
import type { Managers } from './managers.ts';
import { placement, type References } from '../services/service.ts';
import type { Services } from '../services/services.ts';
import { isOver } from '../../docker/task-states.ts';
import { Task } from '../demand/tasks.ts';

/** How long the pulls of all nodes may take together (ms). */
const longestMs = 10 * minute;
const lookMs = 300;

/**
 * Makes every node that takes tasks pull an image, by a global job whose tasks only print the supervisor's version. Returns the ids of
 * the nodes that failed. Always removes the job. @throws engine.*, swarm.*, the signal's reason
 */
export async function pullEverywhere(
  managers: Managers,
  services: Services,
  reference: string,
  architecture: 'amd64' | 'arm64',
  signal: AbortSignal,
): Promise<string[]> {
  signal.throwIfAborted();
  const name = `${services.stack}-pull-${randomUUID().slice(0, 8)}`;
  try {
    await managers.do(`have every node pull ${reference}`, async (docker) => {
      const config = await services.supervisorConfig(docker, architecture);
      await startJob(docker, jobSpec(name, services.labelsOf('probe'), reference, architecture, config));
    });
    const until = performance.now() + longestMs;
    for (;;) {
      const tasks = await managers.do('ask for tasks', async (docker) => {
        return z.array(Task).parse(await docker.listTasks({ filters: JSON.stringify({ service: [name] }) }));
      });
      const placed = tasks.filter(({ NodeID }) => NodeID !== '');
      const going = placed.some(({ Status }) => !isOver(Status.State));
      if ((tasks.length > 0 && !going) || performance.now() > until)
        return placed.filter(({ Status }) => Status.State !== 'complete').map(({ NodeID }) => NodeID);
      await sleep(lookMs, undefined, { signal });
    }
  } finally {
    await services.remove(name);
  }
}

/** Creates the job. An existing one is from an earlier try of this call whose answer was lost. */
async function startJob(docker: Dockerode, spec: object): Promise<void> {
  try {
    await docker.createService(spec);
  } catch (error) {
    if (!isStatus(error, 409)) throw error;
  }
}

function jobSpec(
  name: string,
  own: Record<string, string>,
  reference: string,
  architecture: 'amd64' | 'arm64',
  config: References['config'],
): object {
  return {
    Name: name,
    Labels: own,
    TaskTemplate: {
      ContainerSpec: {
        Image: reference,
        Command: [supervisorPath, '--version'],
        User: '0:0',
        Dir: '/',
        Init: false,
        ReadOnly: true,
        CapabilityDrop: ['ALL'],
        Labels: own,
        Configs: [{ ConfigID: config.id, ConfigName: config.name, File: { Name: supervisorPath, UID: '0', GID: '0', Mode: 0o555 } }],
      },
      RestartPolicy: { Condition: 'none' },
      Placement: placement({ architecture }, []),
      LogDriver: { Name: 'none' },
      Networks: [{ Target: 'host' }],
    },
    Mode: { GlobalJob: {} },
  };
}
