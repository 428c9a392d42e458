import type { ByteBudget } from '../base/byte-budget.ts';
import type { Placing } from '../model/placing.ts';
import type { OnOutput } from '../model/request.ts';
import type { OutputBudget } from './room/output-budget.ts';

export interface RunServiceOptions {
  /** Most bytes of the requests of all runs that wait or run: they are in memory. Unlimited if absent. */
  requests?: number | ByteBudget;
  onTrouble?: (message: string) => void;
  /** Memory for the latest output of each run, for its readers. If absent, no output is kept for them. */
  windows?: OutputBudget;
}

/** How {@link RunService.run} runs a request. */
export interface RunThrough {
  placing?: Placing;
  /** Idempotency key. A run that has it already is joined. */
  key?: string;
  /** The run's id; random if absent. */
  id?: string;
  /** Cancels the run. */
  signal?: AbortSignal;
  onOutput?: OnOutput;
  onAttempt?: (attempt: number, node: string) => void;
}
