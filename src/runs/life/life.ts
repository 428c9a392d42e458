import type { KatafleetError } from '../../model/errors.ts';
import type { RunResult } from '../../model/result.ts';
import type { AttemptFault } from './losses.ts';
import type { Tally } from './tally.ts';

/**
 * A run's life, from its acceptance to its end. All times are ms of the steady clock. Each state but the last has a deadline; what
 * happens when it passes is in machine.ts.
 */
export type Life = AcceptedLife | Queued | PlacedLife | Acquiring | Executing | Collecting | EndedLife;

interface LifeUnderway {
  tally: Tally;
  deadline: number;
  /** Whether katafleet stops: after a lost attempt the run is left to the next one. */
  stopping?: boolean;
}

/** Its room in the queue is reserved, and the journal is storing it, or reading it after a restart. */
export interface AcceptedLife extends LifeUnderway {
  phase: 'accepted';
  /** What came meanwhile and ends the run as soon as it is stored. */
  wish?: 'cancel' | 'stop';
}

/** It waits for a place. */
export interface Queued extends LifeUnderway {
  phase: 'queued';
  /** The loss of its last attempt that the journal is storing; the run is not in the queue meanwhile. */
  storing?: Requeue;
}

/** How a run comes back into the queue after a lost attempt. */
export interface Requeue {
  attempt: number;
  /** Ends the run if the journal does not know the attempt any more. */
  error: KatafleetError;
  /** Until when it goes to none of the nodes that it avoids. */
  pause?: number;
}

/** An attempt, and the node where the scheduler has booked memory for it. */
export interface AttemptAt {
  attempt: number;
  node: string;
  /** Whether an idle sandbox was expected; absent for a sandbox that a session kept. */
  warm?: boolean;
  /** Whether it is in the sandbox that its session kept. */
  resumed: boolean;
}

/** It has a node, which gets the image if it lacks it. */
interface PlacedLife extends LifeUnderway, AttemptAt {
  phase: 'placed';
}

/** The node has the image, and makes or hands out a sandbox. */
interface Acquiring extends LifeUnderway, AttemptAt {
  phase: 'acquiring';
}

interface LifeServing extends LifeUnderway, AttemptAt {
  cancelled: boolean;
  /** Whether its deadline has passed and its stream was broken. */
  broken: boolean;
}

/** Its files go to the sandbox, and its steps run there. */
interface Executing extends LifeServing {
  phase: 'executing';
}

/** Its last step has ended, and what it changed comes back. */
interface Collecting extends LifeServing {
  phase: 'collecting';
}

/** It is over. This state has no deadline: the journal owes the write of the end, however long a full disk takes. */
export interface EndedLife {
  phase: 'ended';
  end: RunEnding;
  /** Whether the end is told: once, and after its commit. */
  told: boolean;
}

/** How a run ended, as those who wait for it are told. */
export type RunEnding =
  | { kind: 'finished'; attempt: number; result: RunResult }
  | { kind: 'failed'; attempt?: number; error: KatafleetError }
  | { kind: 'cancelled'; attempt?: number; error: KatafleetError }
  /** katafleet stops, and the next one takes the run up. */
  | { kind: 'left'; attempt?: number; error: KatafleetError }
  /** The journal did not take the run: it never was. */
  | { kind: 'refused'; error: KatafleetError };

/** What happens to a run. Those of an attempt carry its number: an older attempt changes nothing. */
export type LifeEvent =
  /** The journal has committed the run, or has read it after a restart. */
  | { type: 'stored'; at: number }
  | { type: 'refused'; error: KatafleetError }
  /** Memory is booked for it on a node, or its session has a sandbox there. */
  | { type: 'place'; at: number; node: string; warm?: boolean; resumed: boolean }
  /** No node can ever take it. */
  | { type: 'impossible'; error: KatafleetError }
  /** The attempt's node has the image. */
  | { type: 'brought'; attempt: number; at: number }
  /** The attempt has a sandbox. `ms`: how long its steps and its files may take. */
  | { type: 'acquired'; attempt: number; at: number; ms: number }
  | { type: 'executed'; attempt: number }
  /** It may take so long from now on. */
  | { type: 'extended'; attempt: number; at: number; ms: number }
  | { type: 'done'; attempt: number; result: RunResult }
  | { type: 'failed'; attempt: number; at: number; fault: AttemptFault }
  /** The loss of an attempt is committed. `current`: whether the journal knew the attempt. */
  | { type: 'recorded'; attempt: number; current: boolean }
  /** The journal can never take a write of the run. */
  | { type: 'unwritable'; error: KatafleetError }
  /** The end is committed. `current`: whether the journal took it as the run's end. */
  | { type: 'written'; current: boolean }
  | { type: 'cancel'; at: number }
  /** katafleet stops: a run that waits is left to the next one. */
  | { type: 'stop' }
  /** The state's deadline has passed. `late`: the error of a run that waited too long. */
  | { type: 'deadline'; at: number; late: () => KatafleetError };

/** What the owner of a run does next. */
export type LifeEffect =
  /** Puts it into the queue. `again`: after a lost attempt, before the others of its kind. */
  | { do: 'enter'; deadline: number; again: boolean; pause?: number }
  | { do: 'leave' }
  /** Gives back the room in the queue that was reserved for it. */
  | { do: 'give back' }
  | ({ do: 'attempt' } & AttemptAt)
  /** Breaks off what the attempt waits for. */
  | { do: 'abort'; why: KatafleetError }
  /** Breaks the stream of the attempt's sandbox. */
  | { do: 'break' }
  | { do: 'doubt'; node: string; error: KatafleetError }
  /** Ends an idle sandbox of a session on the node. */
  | { do: 'make room'; node: string }
  | { do: 'record loss'; attempt: number; reason: string; counts: boolean }
  | { do: 'write'; end: RunEnding }
  /** Takes back a run that the journal took too late. */
  | { do: 'withdraw' }
  | { do: 'tell'; end: RunEnding };

export interface LifeStep {
  life: Life;
  effects: readonly LifeEffect[];
}

/** Bounds of a run's life. Times in ms. */
export interface LifeRules {
  /** The most tries, see {@link Tally.tries}. */
  attempts: number;
  /** How long the run waits for a place; the wait after a lost attempt is as long again. */
  queueMs: number;
  /** Longest time from the placement to a sandbox; copies of images are not counted. */
  acquireMs: number;
}
