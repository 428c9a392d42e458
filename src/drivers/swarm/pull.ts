import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import type { ApiVersion } from '../api/version.ts';
import { supervisorPath } from '../isolation.ts';
import type { Managers } from './managers.ts';
import { placement } from './service.ts';
import type { Services } from './services.ts';
import { Task } from './tasks.ts';

/** How long every node together may take to pull, ms. */
const longestMs = 10 * 60_000;
const lookMs = 300;
const over = ['complete', 'failed', 'rejected', 'shutdown', 'orphaned', 'remove'];

/**
 * Has every node that takes tasks pull an image, by a global job whose tasks only say the supervisor's version; answers the
 * ids of the nodes that could not. Whatever becomes of it, the job is removed. @throws engine.*, swarm.*
 */
export function pullEverywhere(
  managers: Managers,
  services: Services,
  reference: string,
  architecture: 'amd64' | 'arm64',
  signal: AbortSignal,
): Promise<string[]> {
  return managers.do(
    `pull ${reference} on every node`,
    async (docker, _api: ApiVersion) => {
      const config = await services.supervisorConfig(docker, architecture);
      const name = `${services.stack}-pull-${randomUUID().slice(0, 8)}`;
      const service = await docker.createService({
        Name: name,
        Labels: services.labelsOf('probe'),
        TaskTemplate: {
          ContainerSpec: {
            Image: reference,
            Command: [supervisorPath, '--version'],
            User: '0:0',
            Init: false,
            ReadOnly: true,
            CapabilityDrop: ['ALL'],
            Labels: services.labelsOf('probe'),
            Configs: [{ ConfigID: config.id, ConfigName: config.name, File: { Name: supervisorPath, UID: '0', GID: '0', Mode: 0o555 } }],
          },
          RestartPolicy: { Condition: 'none' },
          Placement: placement({ architecture }, []),
          LogDriver: { Name: 'none' },
          Networks: [{ Target: 'host' }],
        },
        Mode: { GlobalJob: {} },
      } as never);
      try {
        const until = performance.now() + longestMs;
        for (;;) {
          const options = { filters: JSON.stringify({ service: [name] }) };
          const tasks = z.array(Task).parse(await docker.listTasks(options));
          const going = tasks.filter(({ Status, NodeID }) => !over.includes(Status.State) && NodeID !== '');
          if (tasks.length > 0 && going.length === 0)
            return tasks.filter(({ Status }) => Status.State !== 'complete').map(({ NodeID }) => NodeID);
          if (performance.now() > until) return going.map(({ NodeID }) => NodeID);
          signal.throwIfAborted();
          await new Promise((resolve) => setTimeout(resolve, lookMs));
        }
      } finally {
        await docker.getService(service.id).remove();
      }
    },
    longestMs + 60_000,
  );
}
