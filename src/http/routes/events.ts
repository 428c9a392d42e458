import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import type { ByteBudget } from '../../base/byte-budget.ts';
import { MiB } from '../../base/units.ts';
import { EventId, eventJson, firstEvent, type RunEvent } from '../../model/run-event.ts';
import { whileConnected } from '../connected.ts';
import { parse } from '../parse.ts';
import { roomFor } from '../result-room.ts';
import type { AppServices } from '../services.ts';
import { leftToTheNext, waitSeconds } from '../waiting.ts';

/** How many bytes of output a page has at most. A single event may be larger. */
const pageBytes = 4 * MiB;
/** An event's bytes become base64, and that becomes JSON. */
const jsonWeight = 3;

const EventsQuery = z.object({
  after: EventId.default(firstEvent),
  wait: waitSeconds,
  limit: z.coerce.number().int().min(1).max(1_000).default(1_000),
});
const RunId = z.object({ id: z.uuid() });

/** What happens to a run, page by page. With `wait` a page comes as soon as it has an event (long poll). */
export function eventRoutes(app: FastifyInstance, { runs, stopping }: AppServices, answers: ByteBudget): void {
  app.get('/v1/runs/:id/events', async (request, reply) => {
    const { id } = parse(RunId, request.params);
    const { after, wait, limit } = parse(EventsQuery, request.query);
    const events = await whileConnected(request, (signal) => runs.read(id, { after, waitMs: wait * 1_000, limit, signal }));
    if (events.length === 0 && wait > 0 && stopping()) throw leftToTheNext();
    const page = pageOf(events);
    await roomFor(answers, jsonWeight * page.reduce((sum, event) => sum + bytesOf(event), 0), reply);
    return { events: page.map(eventJson), next: page.at(-1)?.id ?? after };
  });
}

const bytesOf = (event: RunEvent) => (event.type === 'stdout' || event.type === 'stderr' ? event.bytes.length : 0);

/** Returns the first events, as many as a page may have. */
function pageOf(events: RunEvent[]): RunEvent[] {
  let bytes = 0;
  const over = events.findIndex((event, at) => (bytes += bytesOf(event)) > pageBytes && at > 0);
  return over < 0 ? events : events.slice(0, over);
}
