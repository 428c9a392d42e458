import type { FastifyInstance, FastifyRequest } from 'fastify';
import { ByteBudget, type Room } from '../base/byte-budget.ts';
import { KatafleetError } from '../model/errors.ts';

/** When a refused client may try again, ms. */
const retryAfterMs = 1_000;

/** Gives back the memory of a request's body. */
export type Forget = (request: FastifyRequest) => void;

/**
 * Bounds the bytes of all bodies that are read at once. A body for which there is no room is refused before any of it is read. A body
 * of unknown length, or a compressed one, counts as the largest that is allowed.
 * @param readsItself whether a request's route streams its body itself
 */
export function boundBodies(
  app: FastifyInstance,
  { most, bodyLimit }: { most: number; bodyLimit: number },
  readsItself: (request: FastifyRequest) => boolean,
): Forget {
  const budget = new ByteBudget(most);
  const rooms = new WeakMap<FastifyRequest, Room>();
  const forget: Forget = (request) => {
    rooms.get(request)?.close();
    rooms.delete(request);
  };
  app.addHook('onRequest', (request, reply, done) => {
    const bytes = readsItself(request) ? 0 : bodyBytes(request, bodyLimit);
    const room = bytes === 0 ? undefined : budget.tryOpen(bytes);
    if (room) {
      rooms.set(request, room);
      // If a client goes away after its body was read, Fastify calls neither onResponse nor onRequestAbort.
      reply.raw.once('close', () => forget(request));
    }
    done(bytes > 0 && !room ? busy('there is no memory for another request now: many requests are being read') : undefined);
  });
  app.addHook('onResponse', (request, _reply, done) => {
    forget(request);
    done();
  });
  return forget;
}

export const busy = (why: string) => new KatafleetError('server.busy', why, { hint: 'try again later', retryAfterMs });

/** Returns how much memory a request's body may take: 0 for one that is too large, because Fastify refuses it unread. */
function bodyBytes({ headers }: FastifyRequest, bodyLimit: number): number {
  const encoded = (headers['content-encoding'] ?? 'identity') !== 'identity';
  const length = Number(headers['content-length'] ?? NaN);
  if (headers['transfer-encoding'] !== undefined || (encoded && length !== 0)) return bodyLimit;
  return Number.isNaN(length) || length > bodyLimit ? 0 : length;
}
