import type { FastifyInstance } from 'fastify';
import { machineOf, splitMachine } from '../../fleet/node/machines.ts';
import type { NodeSummary } from '../../model/node.ts';
import { NameInPath, parse } from '../parse.ts';
import type { AppServices } from '../services.ts';

/** The machines of a swarm are at most this old in an answer, ms. */
const freshMs = 1_000;
/** How many of a node's events come with it. */
const eventsShown = 50;

/** One node, or one machine of a swarm; and what a person decides about it. */
export function nodeRoutes(app: FastifyInstance, { fleet, cordon, journal }: AppServices): void {
  const summaryOf = async (node: string): Promise<NodeSummary | undefined> => {
    await fleet.node(node).lookAtMachines(freshMs);
    return fleet.nodes().find(({ name }) => name === node);
  };
  app.get('/v1/nodes/:name', async (request) => {
    const { name } = parse(NameInPath, request.params);
    const { node, machine } = splitMachine(name);
    if (machine !== undefined) return machineOf((await summaryOf(node))?.members ?? [], node, machine);
    return { ...(await summaryOf(name)), events: journal.events({ node: name, limit: eventsShown }) };
  });
  for (const how of ['cordon', 'drain', 'uncordon'] as const) {
    app.post(`/v1/nodes/:name/${how}`, async (request) => {
      const { name } = parse(NameInPath, request.params);
      await cordon(name, how);
      return summaryOf(splitMachine(name).node);
    });
  }
}
