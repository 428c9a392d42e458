import { z } from 'zod';
import { KatafleetError } from '../model/errors.ts';

/** Longest time that a request may wait for its run or its next event, s. */
const longestWait = 600;

/** `wait` of a query, s. */
export const waitSeconds = z.coerce.number().min(0).max(longestWait).default(0);

/**
 * The answer to a client that waits while katafleet ends: the run goes on with the next katafleet. An answer at once without an error
 * would make the client ask again at once.
 */
export const leftToTheNext = () =>
  new KatafleetError('service.stopping', 'katafleet is stopping; the run is kept, and goes on when it is started again', {
    retryAfterMs: 2_000,
  });
