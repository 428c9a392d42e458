import { minute } from '../../../base/units.ts';
import { labels } from '../../../model/labels.ts';

/** What is known of a service when its number of replicas is decided. Times are ms on one clock. */
export interface ReplicaView {
  now: number;
  /** Sandboxes that are handed out, and those that somebody waits for. */
  wanted: number;
  /** Of them, those that somebody waits for. */
  waiting: number;
  /** What the swarm was told last on our behalf. */
  current: number;
  /** When all of `current` were wanted last. */
  fullAt: number;
  /** When any was wanted last. */
  usedAt: number;
  /** The swarm lacks room for somebody else. */
  pressed: boolean;
}

export interface ReplicaRules {
  /** How many tasks may be on their way at once. */
  starting: number;
  /** How long the highest number is kept: what ends is replaced, and a new run finds it without a word to the swarm. */
  settleMs: number;
  /** How long a service that nobody uses keeps its replicas. */
  lingerMs: number;
}

/**
 * How many replicas a service should have for us. It rises at once and falls late: each task that ends is replaced by the
 * swarm, so that a steady load needs no call at all, and each call costs the managers a consensus. It rises by no more than can
 * start at once: the others who wait are served by what follows, and machines that start hundreds of containers answer nobody.
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
/** How many, and when it was said, Unix ms. */
const wantValue = /^([1-9]\d{0,5})@(\d+)$/;
/** What a katafleet wanted is forgotten when it has not said so again for so long, ms. */
export const wantLastsMs = 5 * minute;

/**
 * A service's labels with our number in them, and the sum of what all katafleets that share it want. Each says so again
 * before {@link wantLastsMs} are over; of one that doesn't, nothing is left.
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
    // What was said in the future was said by no clock of ours.
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
