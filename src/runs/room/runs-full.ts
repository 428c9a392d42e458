import { KatafleetError } from '../../model/errors.ts';

/** The error if the requests of all runs that wait or run have no room for another one. */
export const runsFull = () =>
  new KatafleetError('queue.full', 'the runs that wait or run have as many bytes as they may', {
    hint: 'try again later',
    retryAfterMs: 1_000,
  });
