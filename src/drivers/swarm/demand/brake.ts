/** A task that ends by itself so soon after it has dialled in can't work, ms. */
const earlyMs = 1_000;
/** So long after fewer were wanted the swarm still ends some, ms. */
const fewerMs = 15_000;
/** So many in a row, and the swarm is not left to make one after the other. */
const mostEarly = 10;

/** How a task's connection ended. */
export interface TaskEnd {
  /** How long it was there, ms. */
  livedMs: number;
  /** Nobody had it. */
  unused: boolean;
  /** Something was said to it. */
  spokenTo: boolean;
  /** Its own side ended it. */
  ended: boolean;
}

/** Notices tasks that end as soon as they have dialled in: replaced at once, and without delay, they would be made for ever. */
export interface Brake {
  /** Tasks in a row that ended early. */
  readonly early: number;
  /** When the swarm was last told of fewer, and began to end some itself. */
  readonly fewerAt: number;
}

export const released: Brake = { early: 0, fewerAt: -Infinity };

/** Whether no more tasks should be made than somebody waits for. */
export const isOn = ({ early }: Brake): boolean => early >= mostEarly;

/** A task has ended; that may put the brake on, or release it. */
export function braked(brake: Brake, { livedMs, unused, spokenTo, ended }: TaskEnd, now: number): Brake {
  if (livedMs >= earlyMs || (!unused && spokenTo)) return { ...brake, early: 0 };
  return unused && ended && now - brake.fewerAt >= fewerMs ? { ...brake, early: brake.early + 1 } : brake;
}
