import { Transform } from 'node:stream';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { KiB } from '../base/units.ts';
import { type Clock, steadyClock } from '../base/clock.ts';
import { KatafleetError } from '../model/errors.ts';
import { formatBytes } from '../model/quantity.ts';

/**
 * How fast a body must come. After `graceMs` it needs `slowest` bytes a second on average, and enough to be whole within `wholeMs`. A
 * client that sends steadily and would end in time is never too slow.
 */
export const bodyPace = { graceMs: 10_000, slowest: 16 * KiB, wholeMs: 120_000, lookMs: 1_000 } as const;

/** Returns how many bytes of a body must have come after `ms`. `length` is undefined if the client did not say it. */
export function expectedBytes(ms: number, length: number | undefined): number {
  const { graceMs, slowest, wholeMs } = bodyPace;
  const needed = length === undefined ? 0 : length / (wholeMs - graceMs);
  return Math.max(0, ms - graceMs) * Math.max(slowest / 1_000, needed);
}

/**
 * Refuses bodies that come too slowly, because each of them holds memory that others wait for. Counts the bytes of the wire, so it must
 * run before a body is unpacked. @throws request.too_slow
 */
export function refuseSlowBodies(
  app: FastifyInstance,
  readsItself: (request: FastifyRequest) => boolean,
  clock: Clock = steadyClock,
): void {
  app.addHook('preParsing', (request, reply, payload, done) => {
    const { 'content-length': length, 'transfer-encoding': coding } = request.headers;
    if (readsItself(request) || (coding === undefined && Number(length ?? 0) === 0)) {
      done(null, payload);
      return;
    }
    let received = 0;
    const watched = new Transform({
      transform(chunk: Buffer, _encoding, taken) {
        received += chunk.length;
        taken(null, chunk);
      },
    });
    payload.once('error', (cause) =>
      watched.destroy(new KatafleetError('request.invalid', 'the client closed the connection before its body was complete', { cause })),
    );
    const stop = watch(
      clock,
      (ms) => received < expectedBytes(ms, coding === undefined ? Number(length) : undefined),
      () => {
        payload.unpipe(watched);
        const why = `the body comes too slowly: ${formatBytes(received)} have come so far`;
        watched.destroy(new KatafleetError('request.too_slow', why, { hint: 'send the body at once, or a smaller one' }));
      },
    );
    // If the body was refused already, for instance as too large, nothing else listens for its errors.
    watched.on('error', () => undefined);
    reply.raw.once('close', stop);
    payload.once('end', stop);
    watched.once('close', stop);
    done(null, payload.pipe(watched));
  });
}

/**
 * Looks once a second until it is stopped. Calls `late` if the body was too slow at two looks in a row: between them the process has read
 * all bytes that had come. Time in which the process itself stood still does not count.
 */
function watch(clock: Clock, behind: (ms: number) => boolean, late: () => void): () => void {
  const { graceMs, lookMs } = bodyPace;
  let [began, last, warned] = [clock.now(), clock.now(), false];
  const look = (): void => {
    const now = clock.now();
    if (now - last > 2 * lookMs) began += now - last - lookMs;
    last = now;
    const slow = behind(now - began);
    if (slow && warned) {
      late();
      return;
    }
    warned = slow;
    timer = clock.after(lookMs, look);
  };
  let timer = clock.after(graceMs, () => {
    const now = clock.now();
    began = Math.max(began, now - graceMs);
    last = now;
    timer = clock.after(lookMs, look);
  });
  return () => timer.cancel();
}
