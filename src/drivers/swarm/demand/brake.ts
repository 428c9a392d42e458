/** A task that ends by itself within this time after it has dialled in does not work (ms). */
const earlyMs = 1_000;
/** Tasks that end within this time after a scale-down were ended by the swarm: they are no crashes (ms). */
const fewerMs = 15_000;
/** The brake is put on after this many tasks in a row. */
const mostEarly = 10;

/** How a task's connection ended. */
export interface TaskEnd {
  /** How long it was connected (ms). */
  livedMs: number;
  /** It was never handed out. */
  unused: boolean;
  /** Bytes were sent to it. */
  spokenTo: boolean;
  /** The task itself closed the connection. */
  ended: boolean;
}

/** Detects tasks that end as soon as they have dialled in. The swarm replaces each at once, so it would go on for ever. */
export interface Brake {
  /** Tasks in a row that ended early. */
  readonly early: number;
  /** When the service was last scaled down. */
  readonly fewerAt: number;
}

export const released: Brake = { early: 0, fewerAt: -Infinity };

/** Whether the service may have no more tasks than requests wait. */
export const isOn = ({ early }: Brake): boolean => early >= mostEarly;

/** The brake after a task has ended: put on, released, or as before. */
export function braked(brake: Brake, { livedMs, unused, spokenTo, ended }: TaskEnd, now: number): Brake {
  if (livedMs >= earlyMs || (!unused && spokenTo)) return { ...brake, early: 0 };
  return unused && ended && now - brake.fewerAt >= fewerMs ? { ...brake, early: brake.early + 1 } : brake;
}
