/** A run that waits in the queue. All times are ms of the same clock. */
export interface QueueEntry<T> {
  id: string;
  tenant: string;
  /** 0 to 9; a higher one goes first. */
  priority: number;
  /** Bytes of its sandbox, which its tenant is charged for. */
  memory: number;
  /** Bytes of its request. */
  bytes: number;
  /** Runs of the same shape can use the same nodes: if one finds no room, the others find none. */
  shape: string;
  since: number;
  /** When it has waited too long. */
  deadline: number;
  /** Until then it goes to none of the nodes that it avoids, because it has just found no room there. */
  pause?: number;
  value: T;
}
