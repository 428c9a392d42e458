import type { NodeEvent } from './node.ts';
import type { Placing } from './placing.ts';
import type { KeptRecord, RunFailure, RunRecord, RunState, RunSummary, UnendedRun } from './record.ts';
import type { RunRequest } from './request.ts';
import type { RunResult } from './result.ts';

/** What outlives the process, as the rest of katafleet sees it. Times are Unix ms. src/store implements it. */

/** A run as it is stored when it is accepted. */
export interface AcceptedRun {
  id: string;
  tenant: string;
  /** Its idempotency key. */
  key?: string;
  /** The request as the client sent it, before defaults: it decides whether two requests with one key are the same. */
  sent?: object;
  request: RunRequest;
  placing: Placing;
  at: number;
}

/** Where an attempt runs. */
export interface AttemptPlace {
  node: string;
  warm?: boolean;
  resumed?: boolean;
}

/** Which runs a list has: those that match all fields that are given. Newest first, in the order of acceptance. */
export interface RunList {
  /** Most runs, 1 to 1,000. */
  limit: number;
  state?: RunState | undefined;
  tenant?: string | undefined;
  /** The image as the request names it. */
  image?: string | undefined;
  /** The idempotency key. */
  key?: string | undefined;
  /** Accepted at this time or later. */
  since?: number | undefined;
  /** Accepted before this time. */
  until?: number | undefined;
  /** A cursor, {@link RunPage.next} of an earlier page: only runs that were accepted before it. */
  before?: number | undefined;
  /** A cursor: only runs that were accepted after it. */
  after?: number | undefined;
}

/** A page of a list. */
export interface RunPage {
  runs: RunSummary[];
  /** The cursor of the next page, for `before`; absent at the end of the list. */
  next?: number;
}

/** A page of the runs that have not ended, oldest first. */
export interface UnendedPage {
  runs: UnendedRun[];
  /** The cursor of the next page, for `after`; absent at the end. */
  next?: number;
}

/**
 * Runs, their attempts and results. Every call is a command to a worker; a promise of a write resolves after the COMMIT that holds it.
 * Reads see what was committed, never what a disk may still refuse.
 */
export interface RunStore {
  /** Whether new runs and attempts may begin: no write is owed, and the worker answers. */
  readonly takes: boolean;
  /** Calls the listener each time that {@link takes} becomes true again. */
  onTakes(listener: () => void): void;
  /**
   * Stores a run, or returns the run that has the same tenant and key. Equal keys that are under way at the same time are joined.
   * @throws request.conflict if that run's request differs; request.invalid; journal.full if the disk takes nothing; journal.unavailable
   * if the worker does not answer. Nothing is stored then.
   */
  accept(run: AcceptedRun): Promise<{ id: string; known: boolean }>;
  /** Returns the run that has a tenant's key. @throws request.conflict if that run's request differs; journal.unavailable */
  known(tenant: string, key: string, sent: object): Promise<string | undefined>;

  // A write below is owed from the call on. It is kept, in order, and written again by the store itself, however long a full disk or a
  // dead worker takes. Its promise rejects only for what can never be written.

  /** Stores that an attempt begins. Nobody need wait for it. @throws internal for a run that has ended, or a number that is not higher */
  begin(id: string, attempt: number, where: AttemptPlace, at: number): Promise<void>;
  /** Stores that an attempt ended without a result; the run waits again. False if it was not the current attempt. */
  lost(id: string, attempt: number, reason: string, at: number): Promise<boolean>;
  /** Stores that katafleet ended before the attempt did: the attempt does not count as a try. */
  stopped(id: string, attempt: number, at: number): Promise<boolean>;
  /** Stores a run's only result. False if the run has ended otherwise, or a newer attempt has begun; nothing is stored then. */
  finish(id: string, attempt: number, result: RunResult, at: number): Promise<boolean>;
  /** Stores that a run ended without a result. False if it had ended before, or the attempt is not the current one. */
  fail(id: string, attempt: number | undefined, error: RunFailure, at: number): Promise<boolean>;
  cancel(id: string, at: number): Promise<boolean>;

  /** Returns a run without its large files in memory. @throws journal.unavailable, as all reads; journal.broken */
  look(id: string): Promise<KeptRecord | undefined>;
  /** Returns a run without its attempts and its result: the least that tells whether it has ended. */
  summary(id: string): Promise<RunSummary | undefined>;
  /** Returns a run with its whole result in memory. */
  get(id: string): Promise<RunRecord | undefined>;
  /** Returns the request of a run that has not ended. @throws journal.broken */
  request(id: string): Promise<RunRequest | undefined>;
  /** Returns the memory that a run's result needs as JSON if its large files are sent piece by piece (bytes); 0 if it has no result. */
  resultBytes(id: string): Promise<number>;
  /** Returns runs that have not ended, oldest first. @param of.after the cursor of the page before */
  unfinished(of: { after?: number | undefined; limit: number }): Promise<UnendedPage>;
  list(of: RunList): Promise<RunPage>;
  /** Returns how many runs there are in each state. */
  counts(): Promise<Record<RunState, number>>;
  /** Returns when each image was last asked for, by its canonical name. */
  imageUses(): Promise<Map<string, number>>;
  /** Removes runs that ended, and events that happened, before a time. Keys of removed runs can be used again. */
  prune(of: { resultsBefore: number; eventsBefore: number }): Promise<{ runs: number; events: number }>;
}

/** How a maintenance job's last run went. */
export interface MaintenanceRecord {
  startedAt: number | undefined;
  endedAt: number | undefined;
  outcome: 'running' | 'done' | 'failed' | undefined;
  detail: string | undefined;
}

/** What users decided about a node. */
export interface NodeSetting {
  name: string;
  cordoned: boolean;
  draining: boolean;
  /** The engine's id at the time of the decision: another machine of the same name is not meant. */
  machine?: string | undefined;
}

/** Node events, users' decisions about nodes, and maintenance. Writes throw journal.full and journal.unavailable; none is owed. */
export interface NodeStore {
  event(node: string, kind: string, detail: string, at: number): Promise<void>;
  /** Lists events, newest first. */
  events(of: { node?: string | undefined; limit: number }): Promise<NodeEvent[]>;
  nodeSettings(): Promise<NodeSetting[]>;
  setNodeSetting(name: string, of: Omit<NodeSetting, 'name'>): Promise<void>;
  maintenance(job: string): Promise<MaintenanceRecord | undefined>;
  maintenanceStarted(job: string, at: number): Promise<void>;
  maintenanceEnded(job: string, at: number, ok: boolean, detail: string): Promise<void>;
}

/** The whole store. */
export interface KatafleetStore extends RunStore, NodeStore {
  /** Created once per journal: it marks the containers of this fleet. */
  readonly identity: string;
  /** Increases at each opening: a container with an older one is a leftover. */
  readonly epoch: number;
  /** When the journal was created. */
  readonly since: number;
  /** Tries owed writes once more, and closes. What fails again is told, and those runs run again after the next start. */
  close(): Promise<void>;
}
