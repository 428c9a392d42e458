import type { Timings } from '../../model/result.ts';

/** The moments of a run and its last attempt (ms of one monotonic clock). */
export interface Moments {
  submitted: number;
  begun: number;
  acquired: number;
  executed: number;
  collected: number;
}

export const timingsOf = ({ submitted, begun, acquired, executed, collected }: Moments): Timings => ({
  queueMs: begun - submitted,
  acquireMs: acquired - begun,
  executeMs: executed - acquired,
  collectMs: collected - executed,
  totalMs: collected - submitted,
});
