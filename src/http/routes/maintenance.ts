import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import { KatafleetError } from '../../model/errors.ts';
import { NameInPath, parse } from '../parse.ts';
import type { AppServices } from '../services.ts';

const DryRun = z.object({ dryRun: z.stringbool().default(false) });

/** Runs a maintenance job now; with `dryRun` it only says what it would do. */
export function maintenanceRoutes(app: FastifyInstance, { maintenance }: AppServices): void {
  app.post('/v1/maintenance/:name', async (request) => {
    const { name } = parse(NameInPath, request.params);
    const { dryRun } = parse(DryRun, request.query);
    if (!maintenance.has(name))
      throw new KatafleetError('request.unknown', `no maintenance job "${name}"; there are: ${maintenance.names.join(', ')}`);
    return { job: name, dryRun, detail: await maintenance.run(name, dryRun) };
  });
}
