import type { FastifyInstance, FastifyRequest } from 'fastify';
import { ByteBudget, type Room } from '../base/byte-budget.ts';
import { KatafleetError } from '../model/errors.ts';

/** When a client that was turned away may come back, ms. */
const retryAfterMs = 1_000;

/** What says that a request's body is no longer needed. */
export type Forget = (request: FastifyRequest) => void;

/**
 * Bounds the bytes of all bodies that are read at once: one for which there is no room is turned away before any of it is read. A body
 * whose length is not told, or that is compressed, counts as the largest there may be.
 * @param readsItself routes whose bodies are streamed by somebody else
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
      // Answered or not: of a client that goes away once its body was read, neither onResponse nor onRequestAbort tells.
      reply.raw.once('close', () => forget(request));
    }
    done(bytes > 0 && !room ? busy('as many bytes of requests are being read as there is memory for') : undefined);
  });
  app.addHook('onResponse', (request, _reply, done) => {
    forget(request);
    done();
  });
  return forget;
}

export const busy = (why: string) => new KatafleetError('server.busy', why, { hint: 'come back later', retryAfterMs });

/** What a request's body may take; one that is too large is refused unread anyway. */
function bodyBytes({ headers }: FastifyRequest, bodyLimit: number): number {
  const encoded = (headers['content-encoding'] ?? 'identity') !== 'identity';
  const length = Number(headers['content-length'] ?? NaN);
  if (headers['transfer-encoding'] !== undefined || (encoded && length !== 0)) return bodyLimit;
  return Number.isNaN(length) || length > bodyLimit ? 0 : length;
}
