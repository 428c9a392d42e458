import { minute } from '../../../base/units.ts';
import { labels } from '../../../model/labels.ts';

/** What is known of a service when its number of replicas is decided. Times are ms on one clock. */
export interface ReplicaView {
  now: number;
  /** Sandboxes handed out, plus waiting requests. */
  wanted: number;
  /** Waiting requests. */
  waiting: number;
  /** Our share of the replicas that the service was last set to. */
  current: number;
  /** When all of `current` were last wanted. */
  fullAt: number;
  /** When any was last wanted. */
  usedAt: number;
  /** Another pool finds no room. */
  pressed: boolean;
}

export interface ReplicaRules {
  /** How many tasks may be starting at once. */
  starting: number;
  /** How long the highest number is kept (ms): the swarm replaces tasks that end, and a new run needs no call to the swarm. */
  settleMs: number;
  /** How long an unused service keeps its replicas (ms). */
  lingerMs: number;
}

/**
 * Our share of a service's replicas. It rises at once and falls late: the swarm replaces each task that ends, so a steady load needs
 * no call, and each call costs the managers a consensus. It rises by no more than can start at once: later tasks serve the other
 * requests, and a machine that starts hundreds of containers answers no calls.
 */
export function replicasFor(view: ReplicaView, { starting, settleMs, lingerMs }: ReplicaRules): number {
  const { now, wanted, waiting, current, fullAt, usedAt, pressed } = view;
  const bearable = wanted - waiting + Math.min(waiting, starting);
  if (wanted >= current) return Math.max(bearable, current);
  if (pressed) return wanted;
  if (wanted === 0) return now - usedAt >= lingerMs ? 0 : current;
  return now - fullAt >= settleMs ? wanted : current;
}

const wantLabel = 'katafleet.want.';
/** Number, and when it was set (Unix ms). */
const wantValue = /^([1-9]\d{0,5})@(\d+)$/;
/** A katafleet's share expires if it is not renewed within this time (ms). */
export const wantLastsMs = 5 * minute;

/**
 * A service's labels with our share in them, and the sum of the shares of all katafleets. Each renews its share before
 * {@link wantLastsMs} have passed; an expired share is dropped.
 */
export function mergeWants(
  given: Readonly<Record<string, string>>,
  instance: string,
  wanted: number,
  now: number,
): { labels: Record<string, string>; replicas: number } {
  const merged: Record<string, string> = {};
  let replicas = wanted;
  for (const [label, value] of Object.entries(given)) {
    if (!label.startsWith(wantLabel)) {
      merged[label] = value;
      continue;
    }
    if (label === wantLabel + instance) continue;
    const [, number, at] = wantValue.exec(value) ?? [];
    // An entry with a time in the future comes from a wrong clock: ignored.
    if (number === undefined || !(Math.abs(now - Number(at)) < wantLastsMs)) continue;
    merged[label] = value;
    replicas += Number(number);
  }
  if (wanted > 0) merged[wantLabel + instance] = `${wanted}@${now}`;
  return { labels: merged, replicas };
}

/** Whether a service is a pool of this deployment and key. */
export function isOurPool(of: Readonly<Record<string, string>>, stack: string, key: string): boolean {
  return of[labels.role] === 'pool' && of[labels.stack] === stack && of[labels.key] === key;
}
