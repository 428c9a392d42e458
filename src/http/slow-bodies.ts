import { Transform } from 'node:stream';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { KiB } from '../base/units.ts';
import { type Clock, steadyClock } from '../base/clock.ts';
import { KatafleetError } from '../model/errors.ts';
import { formatBytes } from '../model/quantity.ts';

/**
 * How fast a body must come: `slowest` bytes a second on average once `graceMs` have passed, and as many as it takes to have it
 * whole within `wholeMs`. A client that sends steadily and would be done by then is never behind.
 */
export const bodyPace = { graceMs: 10_000, slowest: 16 * KiB, wholeMs: 120_000, lookMs: 1_000 } as const;

/** Bytes of a body that must have come after so many ms; `length` where it is told. */
export function expectedBytes(ms: number, length: number | undefined): number {
  const { graceMs, slowest, wholeMs } = bodyPace;
  const needed = length === undefined ? 0 : length / (wholeMs - graceMs);
  return Math.max(0, ms - graceMs) * Math.max(slowest / 1_000, needed);
}

/**
 * Answers 408 to those whose bodies come too slowly: each holds room that others wait for. Counted as they come over the wire, so it
 * belongs before what unpacks them. @throws request.too_slow
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
      watched.destroy(new KatafleetError('request.invalid', 'the client left in the middle of its body', { cause })),
    );
    const stop = watch(
      clock,
      (ms) => received < expectedBytes(ms, coding === undefined ? Number(length) : undefined),
      () => {
        payload.unpipe(watched);
        const why = `the body came too slowly: ${formatBytes(received)} of it so far`;
        watched.destroy(new KatafleetError('request.too_slow', why, { hint: 'send it at once, or less of it' }));
      },
    );
    // Who has refused the body already, as too large for instance, reads and listens no more.
    watched.on('error', () => undefined);
    reply.raw.once('close', stop);
    payload.once('end', stop);
    watched.once('close', stop);
    done(null, payload.pipe(watched));
  });
}

/**
 * Looks once a second until it is stopped. Behind is who was so at two looks in a row, between which all that had come was read. When
 * our own process stood still, that time counts for nobody.
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
