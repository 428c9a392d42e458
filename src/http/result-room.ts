import type { FastifyReply } from 'fastify';
import { KiB } from '../base/units.ts';
import type { ByteBudget } from '../base/byte-budget.ts';
import { within } from '../base/deadline.ts';
import { busy } from './body-budget.ts';

/** A result of at most this many bytes counts, and waits for no room. */
const smallResult = 256 * KiB;
/** How long a result waits for room, and how long a client may take to read it, ms. */
const [turnMs, readMs] = [30_000, 120_000];

/** Waits until there is memory for a result as JSON, and holds it until the client has read it. @throws server.busy after 30 s */
export async function roomFor(answers: ByteBudget, bytes: number, reply: FastifyReply): Promise<void> {
  if (bytes === 0 || reply.raw.destroyed) return;
  const room = answers.open();
  if (bytes <= smallResult) {
    room.hold(bytes);
    reply.raw.once('close', () => room.close());
    return;
  }
  const had = await within(turnMs, async () => room.take(bytes)).then(
    () => true,
    () => false, // too late
  );
  if (!had || reply.raw.destroyed) {
    room.close();
    throw busy('there is no memory for another result now: many results are on their way to clients');
  }
  const slow = setTimeout(() => reply.raw.destroy(), readMs).unref();
  reply.raw.once('close', () => {
    clearTimeout(slow);
    room.close();
  });
}
