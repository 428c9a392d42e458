import { KatafleetError } from '../../../model/errors.ts';
import { type Brake, released, type TaskEnd } from './brake.ts';
import type { TaskReport } from './tasks.ts';

export const noReport: TaskReport = { words: [], insufficient: false, coming: 0, lacking: [] };

export interface PoolRules {
  /** How long the highest number of replicas is kept (ms). */
  readonly settleMs: number;
  /** How long an unused service keeps its replicas (ms). */
  readonly lingerMs: number;
  /** How long a request for a sandbox waits for a task before it fails with the reason (ms). */
  readonly patienceMs: number;
}

/** What a service is set to. */
export interface ServiceTarget {
  /** Our share: other katafleets may want more of the same service. */
  readonly replicas: number;
  /** Hash of its tasks' shape. */
  readonly hash: string | undefined;
  /** Ids of nodes that lack the image. */
  readonly excluded: readonly string[];
}

/** All that the decisions about a service's pool depend on. Times are ms on one clock. */
export interface PoolState {
  readonly name: string;
  readonly rules: PoolRules;
  /** The shape that tasks should have, and the address that they dial; undefined for an adopted service that no run has used yet. */
  readonly shape: { readonly hash: string; readonly address: string } | undefined;
  readonly excluded: readonly string[];
  /** What the service was last set to, and when. */
  readonly applied: ServiceTarget & { readonly at: number };
  /** Hash of the shape before that one. */
  readonly formerHash: string | undefined;
  /** If only the secret is to change: hash of the shape with the former secret. Its tasks serve until the service is set anew. */
  readonly renewedHash: string | undefined;
  /** When all replicas were last wanted. */
  readonly fullAt: number;
  /** When any replica was last wanted. */
  readonly usedAt: number;
  /** When a task last dialled in. */
  readonly dialledAt: number;
  /** Another pool finds no room. */
  readonly pressed: boolean;
  readonly brake: Brake;
  /** Requests ran out of patience, and no task has dialled in since. */
  readonly fruitless: boolean;
  /** The service is to be set again, even to the same. */
  readonly reapply: boolean;
  /** The swarm has not yet been seen to follow what was last applied. */
  readonly unconfirmed: boolean;
  /** The call to the swarm that is under way: one at a time. */
  readonly busy: 'no' | 'applying' | 'retiring';
  /** When the numbers are next compared. */
  readonly wakeAt: number | undefined;
  /** Whether the timer for the waiting requests is set. */
  readonly watching: boolean;
  /** Whether the swarm is being asked for its tasks. */
  readonly looking: boolean;
  /** Calls that set the service and failed, in a row; the pause before the next one follows from it. */
  readonly failures: number;
  readonly noRoomSince: number | undefined;
  readonly failure: { readonly error: unknown } | undefined;
  /** The swarm's last report on tasks that have not dialled in. */
  readonly report: TaskReport;
  readonly closed: boolean;
}

/** What is measured when an event happens. */
export interface Seen {
  readonly now: number;
  /** When each waiting request came, oldest first. */
  readonly waiting: readonly number[];
  /** Sandboxes that are handed out. */
  readonly handedOut: number;
  /** How many tasks the machines can start at once. */
  readonly starting: number;
}

export type Happening =
  /** The service was there before this katafleet. */
  | { type: 'adopted' }
  /** A request begins to wait for a task. */
  | { type: 'waits' }
  /** The number of waiting requests or of sandboxes handed out has changed. */
  | { type: 'numbers' }
  | { type: 'dialled' }
  | { type: 'ended'; end: TaskEnd }
  /** `onlySecret`: only the tasks' secret changes. */
  | { type: 'reshaped'; shape: { hash: string; address: string }; onlySecret: boolean }
  | { type: 'excluded'; nodes: readonly string[] }
  | { type: 'pressed'; pressed: boolean }
  | { type: 'changed by others' }
  /** The timer of `wakeAt`. */
  | { type: 'woken' }
  /** The timer for the waiting requests. `connected`: tasks that have dialled in, both spare and handed out. */
  | { type: 'watch'; connected: number }
  | { type: 'applied'; target: ServiceTarget }
  | { type: 'apply failed'; error: unknown }
  | { type: 'retiring' }
  | { type: 'retired'; removed: boolean }
  | { type: 'reported'; report: TaskReport }
  | { type: 'closed' };
export type PoolEvent = Happening & { seen: Seen };

export type PoolEffect =
  /** Replaces an earlier timer. */
  | { do: 'wake'; ms: number }
  | { do: 'watch'; ms: number }
  | { do: 'apply'; target: ServiceTarget }
  /** Ask the swarm for its tasks; `from` is when the oldest request came. */
  | { do: 'look'; from: number }
  /** Give up spare tasks of another shape than `but`, or all of them if it is undefined. */
  | { do: 'give up spares'; but: string | undefined }
  | { do: 'refuse'; whom: 'all' | { last: number } | { until: number }; error: Error }
  | { do: 'lacking'; nodes: readonly string[] }
  | { do: 'pressure' }
  | { do: 'trouble'; message: string };

/** `there`: what the service is set to already. */
export function firstState(
  of: Pick<PoolState, 'name' | 'rules' | 'shape'>,
  now: number,
  there?: { replicas: number; hash: string },
): PoolState {
  return {
    ...of,
    excluded: [],
    applied: { replicas: there?.replicas ?? 0, hash: there?.hash, excluded: [], at: -Infinity },
    formerHash: undefined,
    renewedHash: undefined,
    fullAt: now,
    usedAt: now,
    dialledAt: -Infinity,
    pressed: false,
    brake: released,
    fruitless: false,
    reapply: false,
    unconfirmed: false,
    busy: 'no',
    wakeAt: undefined,
    watching: false,
    looking: false,
    failures: 0,
    noRoomSince: undefined,
    failure: undefined,
    report: noReport,
    closed: false,
  };
}

export const closedError = () => new KatafleetError('node.lost', 'the driver is closed');
