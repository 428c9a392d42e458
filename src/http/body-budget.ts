import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { ByteBudget, Room } from '../base/byte-budget.ts';
import { KatafleetError } from '../model/errors.ts';
import { runsFull } from '../runs/room/runs-full.ts';

/** When a refused client may try again, ms. */
const retryAfterMs = 1_000;

/** Memory of the requests that are read. */
export interface BodyMemory {
  /** What a body takes beside its bytes while it is read and parsed. */
  bodies: ByteBudget;
  /** The bytes themselves. A run that is accepted keeps its room there. */
  requests: ByteBudget;
}

export interface BodyRooms {
  /** Gives back what a request's body takes beside the room that was handed over. */
  forget(request: FastifyRequest): void;
  /** Hands over the room of a body's bytes. Undefined if the body's length was not known. */
  handOver(request: FastifyRequest): Room | undefined;
}

/**
 * Bounds the bytes of all bodies that are read at once, together with those of the runs that wait or run. A body for which there is no
 * room is refused before any of it is read. A body of unknown length, or a compressed one, counts as the largest that is allowed while
 * it is read, and takes room among the runs only when its bytes are known.
 * @param readsItself whether a request's route streams its body itself
 */
export function boundBodies(
  app: FastifyInstance,
  { memory: { bodies, requests }, bodyLimit }: { memory: BodyMemory; bodyLimit: number },
  readsItself: (request: FastifyRequest) => boolean,
): BodyRooms {
  const rooms = new WeakMap<FastifyRequest, { body: Room; request?: Room }>();
  const forget = (request: FastifyRequest) => {
    const held = rooms.get(request);
    held?.body.close();
    held?.request?.close();
    rooms.delete(request);
  };
  const refusal = (request: FastifyRequest, reply: FastifyReply): KatafleetError | undefined => {
    const { bytes, known } = readsItself(request) ? { bytes: 0, known: true } : bodyBytes(request, bodyLimit);
    if (bytes === 0) return undefined;
    const own = known ? requests.tryOpen(bytes) : undefined;
    if (known && !own) return requests.held + bytes > requests.most ? runsFull() : bodiesFull();
    const body = bodies.tryOpen(bytes);
    if (!body) {
      own?.close();
      return bodiesFull();
    }
    rooms.set(request, { body, ...(own ? { request: own } : {}) });
    // If a client goes away after its body was read, Fastify calls neither onResponse nor onRequestAbort.
    reply.raw.once('close', () => forget(request));
    return undefined;
  };
  app.addHook('onRequest', (request, reply, done) => done(refusal(request, reply)));
  app.addHook('onResponse', (request, _reply, done) => {
    forget(request);
    done();
  });
  const handOver = (request: FastifyRequest) => {
    const { body, request: room } = rooms.get(request) ?? {};
    if (body) rooms.set(request, { body });
    return room;
  };
  return { forget, handOver };
}

export const busy = (why: string) => new KatafleetError('server.busy', why, { hint: 'try again later', retryAfterMs });
const bodiesFull = () => busy('there is no memory for another request now: many requests are being read, or many results are told');

/** Returns how many bytes a request's body may have: 0 for one that is too large, because Fastify refuses it unread. */
function bodyBytes({ headers }: FastifyRequest, bodyLimit: number): { bytes: number; known: boolean } {
  const encoded = (headers['content-encoding'] ?? 'identity') !== 'identity';
  const length = Number(headers['content-length'] ?? NaN);
  if (headers['transfer-encoding'] !== undefined || (encoded && length !== 0)) return { bytes: bodyLimit, known: false };
  return { bytes: Number.isNaN(length) || length > bodyLimit ? 0 : length, known: true };
}
