import type { FastifyInstance } from 'fastify';
import { machineOf, splitMachine } from '../../fleet/node/machines.ts';
import { NameInPath, parse } from '../parse.ts';
import type { AppServices } from '../services.ts';

/** How many of a node's events come with it. */
const eventsShown = 50;

/** One node, or one machine of a swarm; and what a person decides about it. */
export function nodeRoutes(app: FastifyInstance, { fleet, cordon, journal }: AppServices): void {
  app.get('/v1/nodes/:name', async (request) => {
    const { name } = parse(NameInPath, request.params);
    const { node, machine } = splitMachine(name);
    if (machine !== undefined) return machineOf((await fleet.freshNode(node)).members ?? [], node, machine);
    return { ...(await fleet.freshNode(name)), events: await journal.events({ node: name, limit: eventsShown }) };
  });
  for (const how of ['cordon', 'drain', 'uncordon'] as const) {
    app.post(`/v1/nodes/:name/${how}`, async (request) => {
      const { name } = parse(NameInPath, request.params);
      await cordon(name, how);
      return fleet.freshNode(splitMachine(name).node);
    });
  }
}
