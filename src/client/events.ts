import { z } from 'zod';
import { KatafleetError } from '../model/errors.ts';
import { faultsOf } from '../model/faults.ts';
import { EventId, firstEvent, RunEventJson } from '../model/run-event.ts';
import type { RunEvent } from '../model/run-event.ts';
import type { Connection } from './connection.ts';

/** Reads a page of a run's events. Events of a kind that only a later release has are left out. */
const EventPage = z.object({ events: z.array(z.looseObject({ type: z.string() })), next: EventId.optional() });

const knownTypes: ReadonlySet<string> = new Set(RunEventJson.options.map(({ shape }) => shape.type.value));

export interface EventQuery {
  /** The id of the last event that the caller has. */
  after?: string;
  /** How long the server waits for the next event, s. */
  wait?: number;
  /** Most events of the page. */
  limit?: number;
  signal?: AbortSignal | undefined;
}

export interface RunEvents {
  events: RunEvent[];
  /** The id to go on after. */
  next: string;
}

/** Returns the events of a run after an id: none if there were none within the wait. @throws run.unknown; request.unknown of an older server */
export async function readEvents(
  server: Connection,
  path: string,
  { after = firstEvent, wait = 0, limit = 1_000, signal }: EventQuery = {},
): Promise<RunEvents> {
  const query = new URLSearchParams({ after, wait: String(wait), limit: String(limit) });
  const page = await server.call('GET', `${path}/events?${query.toString()}`, EventPage, { wait, signal });
  const events = page.events.flatMap((event) => {
    if (!knownTypes.has(event.type)) return [];
    const parsed = RunEventJson.safeParse(event);
    if (parsed.success) return [parsed.data];
    throw new KatafleetError(
      'server.unreachable',
      `the server at ${server.url} tells an event wrongly: ${faultsOf(parsed.error, 'event')}`,
    );
  });
  return { events, next: page.next ?? events.at(-1)?.id ?? after };
}
