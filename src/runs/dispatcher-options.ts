import type { ByteBudget } from '../base/byte-budget.ts';
import type { Policy } from '../scheduler/place/placement.ts';
import type { QueueLimits } from '../scheduler/queue/queue.ts';
import type { Transfers } from './attempt/transfer.ts';
import type { OutputBudget } from './room/output-budget.ts';
import type { SessionLimits } from './sessions/sessions.ts';
import type { Recorder } from './ticket.ts';

export interface DispatcherOptions {
  limits: QueueLimits;
  policy: Policy;
  /** Tries at a run whose node was lost after its command had begun, or on whose nodes no sandbox could be made. */
  attempts: number;
  /** Bytes that an idle sandbox books. */
  idleMemory: number;
  /** Whether runs wait for nodes that are down; else they are refused when no node is up. */
  patient: boolean;
  /** Bounds of the sandboxes of sessions; none are kept if absent. */
  sessions?: SessionLimits;
  recorder?: Recorder | undefined;
  /** How files travel; on the conversation alone if absent. */
  transfers?: Transfers;
  /** What the results on their way from sandboxes may take; unbounded if absent. */
  results?: ByteBudget;
  /** What the output of running steps may take; unbounded if absent. */
  output?: OutputBudget;
  random?: () => number;
}
