import type { FastifyInstance } from 'fastify';
import type { AppServices } from '../services.ts';

/** What a load balancer or an orchestrator asks. */
export function healthRoutes(app: FastifyInstance, { fleet, runs, stopping, takes }: AppServices): void {
  app.get('/health/live', () => ({ live: true }));
  app.get('/health/ready', (_request, reply) => {
    const nodes = { all: fleet.all.length, ready: fleet.cluster.count('ready') };
    const ready = nodes.ready > 0 && takes() && !stopping();
    void reply.code(ready ? 200 : 503);
    return { ready, nodes, runs: { waiting: runs.dispatcher.waiting, running: runs.dispatcher.running } };
  });
}
