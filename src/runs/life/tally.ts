/** What a run's attempts have cost it so far. Nothing here is counted by the attempts' numbers, which have gaps after a restart. */
export interface Tally {
  /** The number of its last attempt; 0 if there was none. */
  attempt: number;
  /**
   * Attempts that count as tries. These do not:
   * - katafleet was stopped;
   * - it found no node, no room or no image;
   * - it was in a session's kept sandbox (a fresh one takes its place);
   * - its sandbox was gone before the command began (the first few of those).
   */
  tries: number;
  /** All attempts of this process. */
  made: number;
  /** Uncounted attempts whose sandbox was gone before the command began, on a healthy node. */
  unbegun: number;
  /** Attempts whose sandbox was gone after the command had begun, on a healthy node. */
  own: number;
  /** Attempts in a row that failed before the command began. */
  setbacks: number;
  /** Attempts refused with node.full although the books showed room. */
  full: number;
  /** Until when the run waits in the queue, ms of the steady clock. */
  waitsUntil: number;
  /** Until when attempts in a row that fail before the command begins may go on, ms of the steady clock. */
  patience: number | undefined;
  /** Nodes that it stays away from while others can take it. */
  avoid: ReadonlySet<string>;
  /** The message of the last loss, with its node. */
  why: string | undefined;
}

export const newTally = (before: { attempt?: number | undefined; tries?: number | undefined } = {}): Tally => ({
  attempt: before.attempt ?? 0,
  tries: before.tries ?? 0,
  made: 0,
  unbegun: 0,
  own: 0,
  setbacks: 0,
  full: 0,
  waitsUntil: 0,
  patience: undefined,
  avoid: new Set(),
  why: undefined,
});
