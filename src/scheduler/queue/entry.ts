/** A run that waits in the queue. All times are ms on one clock, whichever. */
export interface QueueEntry<T> {
  id: string;
  tenant: string;
  /** 0 to 9; higher goes first. */
  priority: number;
  /** Bytes of its sandbox: what its tenant is charged with. */
  memory: number;
  /** Bytes of its request. */
  bytes: number;
  /** Runs of one shape can be placed alike: where one has no room, the others have none. */
  shape: string;
  since: number;
  /** When it has waited too long. */
  deadline: number;
  /** Until then it goes to no node that it avoids: it found no room there a moment ago. */
  pause?: number;
  value: T;
}
