import type { ByteBudget } from '../base/byte-budget.ts';
import type { Clock } from '../base/clock.ts';
import type { Policy } from '../scheduler/place/placement.ts';
import type { QueueLimits } from '../scheduler/queue/queue.ts';
import type { Transfers } from './attempt/transfer.ts';
import type { Recorder } from './life/records.ts';
import type { OutputBudget } from './room/output-budget.ts';
import type { SessionLimits } from './sessions/sessions.ts';

export interface DispatcherOptions {
  limits: QueueLimits;
  policy: Policy;
  /** The most attempts at a run whose node was lost after its command had begun, or that got no sandbox on its nodes. */
  attempts: number;
  /** How long a node may take to make a sandbox for a run, ms; a minute if absent. Copies of images are not counted. */
  acquireMs?: number;
  /** Memory that an idle sandbox books, bytes. */
  idleMemory: number;
  /** Whether runs wait for nodes that are down. If false, runs are refused while no node is up. */
  patient: boolean;
  /** Limits of the sandboxes of sessions. If absent, sessions keep no sandbox. */
  sessions?: SessionLimits;
  /** Records attempts and ends. If absent, nothing is recorded. */
  recorder?: Recorder | undefined;
  /** How files travel. If absent, only in the conversation with the supervisor. */
  transfers?: Transfers;
  /** Memory for results that are on their way from sandboxes. Unlimited if absent. */
  results?: ByteBudget;
  /** Memory for the output of running steps. Unlimited if absent. */
  output?: OutputBudget;
  random?: () => number;
  /** The steady clock if absent. */
  clock?: Clock;
}
