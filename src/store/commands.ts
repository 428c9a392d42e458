import type { AttemptRecord, RunState } from '../model/record.ts';
import type { MaintenanceRecord, NodeSetting, RunList } from '../model/run-store.ts';
import type { NodeEvent } from '../model/node.ts';

/** What the store's client and its worker say to each other. All of it can be cloned from thread to thread. */

/** A place in a segment file. */
export interface RecordPlace {
  segment: string;
  at: number;
  length: number;
}

/** A record: in a row of the database, or in a segment. `near`: how many of its bytes a look at the run reads. */
export type Stored = ({ bytes: Uint8Array } | RecordPlace) & { near: number };

/** Writes of runs. */
export type RunWrite =
  | {
      do: 'accept';
      id: string;
      tenant: string;
      key?: string | undefined;
      hash: Uint8Array;
      image: string;
      placing: string;
      at: number;
      request: Stored;
    }
  /** Removes a run that was accepted and of which nobody was told. */
  | { do: 'withdraw'; id: string }
  | { do: 'begin'; id: string; attempt: number; node: string; warm?: boolean | undefined; resumed?: boolean | undefined; at: number }
  | { do: 'lost'; id: string; attempt: number; reason: string; at: number }
  | { do: 'finish'; id: string; attempt: number; result: Stored; at: number }
  | { do: 'fail'; id: string; attempt?: number | undefined; error: string; message: string; at: number }
  | { do: 'cancel'; id: string; at: number };

/** Writes of what is kept beside runs. */
export type BookWrite =
  | { do: 'event'; node: string; kind: string; detail: string; at: number }
  | { do: 'setNode'; name: string; cordoned: boolean; draining: boolean; machine?: string | undefined }
  | { do: 'maintenanceStarted'; job: string; at: number }
  | { do: 'maintenanceEnded'; job: string; at: number; ok: boolean; detail: string };

export type Write =
  | RunWrite
  | BookWrite
  /** Nothing more is written to a segment. */
  | { do: 'seal'; segment: string }
  /** Changes nothing that anybody reads: it tells whether the disk takes writes. */
  | { do: 'probe' };

/** What each write answers. */
export interface WriteAnswers {
  accept: { id: string; known: boolean } | { conflict: string };
  withdraw: undefined;
  begin: undefined;
  lost: boolean;
  finish: boolean;
  fail: boolean;
  cancel: boolean;
  event: undefined;
  setNode: undefined;
  maintenanceStarted: undefined;
  maintenanceEnded: undefined;
  seal: undefined;
  probe: undefined;
}

/** A run's row. */
export interface RunRow {
  id: string;
  sequence: number;
  tenant: string;
  key: string | null;
  image: string;
  placing: string;
  state: RunState;
  accepted_at: number;
  ended_at: number | null;
  error: string | null;
}

export interface UnendedRow extends RunRow {
  attempt: number;
  bytes: number;
  begun: number;
  abandoned: number;
  stopped: number;
}

export type Read =
  | { do: 'ping' }
  | { do: 'look'; id: string }
  | { do: 'summary'; id: string }
  | { do: 'request'; id: string }
  | { do: 'known'; tenant: string; key: string }
  | { do: 'resultSize'; id: string }
  | { do: 'unfinished'; after: number; limit: number }
  | { do: 'list'; of: RunList }
  | { do: 'counts' }
  | { do: 'imageUses' }
  | { do: 'events'; node?: string | undefined; limit: number }
  | { do: 'nodes' }
  | { do: 'maintenance'; job: string }
  | { do: 'prune'; resultsBefore: number; eventsBefore: number }
  | { do: 'backup'; folder: string };

/** What each read answers. */
export interface ReadAnswers {
  ping: undefined;
  look: { run: RunRow; attempts: AttemptRecord[]; result?: Stored | undefined } | undefined;
  summary: RunRow | undefined;
  request: Stored | undefined;
  known: { id: string; hash: Uint8Array } | undefined;
  /** Bytes in memory for a look at the result, and its other bytes. */
  resultSize: { near: number; far: number } | undefined;
  unfinished: UnendedRow[];
  list: RunRow[];
  counts: Record<RunState, number>;
  imageUses: [image: string, usedAt: number][];
  events: NodeEvent[];
  nodes: NodeSetting[];
  maintenance: MaintenanceRecord | undefined;
  prune: { runs: number; events: number };
  backup: undefined;
}

export type Answers = WriteAnswers & ReadAnswers;
export type Command = Write | Read;

/** Commands in their order. */
export interface Batch {
  /** Raised after a refusal: the worker refuses writes of an older one, so that none is done out of turn. */
  generation: number;
  commands: [number: number, command: Command][];
}

/** An error on its way from thread to thread. */
export interface SentError {
  code: string;
  message: string;
  hint?: string | undefined;
}

/** What a journal is. */
export interface Opened {
  identity: string;
  epoch: number;
  since: number;
}

/** What the worker says. */
export interface Said {
  opened?: Opened;
  /** Why the journal can't be opened. */
  closed?: SentError;
  answers?: [number: number, answer: unknown][];
  failed?: [number: number, error: SentError][];
  /** Writes that the disk did not take. */
  refused?: { numbers: number[]; why: string };
  /** What the operator should know. */
  trouble?: string;
}

/** What the worker needs to begin. */
export interface WorkerOptions {
  /** The database, or `:memory:`. */
  file: string;
  /** Most bytes of all results together. */
  keepBytes: number;
  power: boolean;
  /** The epoch of the opening, for a worker that takes the place of one that died. */
  again?: number | undefined;
}
