import { LagClock } from '../../base/lag-clock.ts';
import { KatafleetError } from '../../model/errors.ts';
import { LookTurns } from './look-turns.ts';
import { SelfDoubt } from './self-doubt.ts';

/** A look whose process stalled for this share of the time limit, or longer, says nothing about the node. */
const stalledShare = 0.2;

/** What katafleet knows of itself when it judges its nodes: one for a fleet. */
export class SelfWatch {
  readonly lag = new LagClock();
  readonly turns = new LookTurns();
  readonly doubt: SelfDoubt;
  readonly #timeoutMs: number;

  constructor({ intervalMs, timeoutMs }: { intervalMs: number; timeoutMs: number }, tell?: (message: string) => void) {
    this.#timeoutMs = timeoutMs;
    // Looks at different nodes are up to an interval and its jitter apart, and a silent one takes the whole time limit.
    this.doubt = new SelfDoubt({ windowMs: 1.2 * intervalMs + timeoutMs, tell });
  }

  /** Whether a call failed in a stall of this process, which lasted for `stalledMs` of it: then its failure says nothing. */
  ownStall(error: unknown, stalledMs: number): boolean {
    return error instanceof KatafleetError && error.code === 'engine.timeout' && stalledMs >= stalledShare * this.#timeoutMs;
  }

  /**
   * Whether a node that does not answer had twice its time limit in all, without this process's stalls (ms): then it is silent, however
   * busy this machine is. Twice, because a stall is measured too short by up to a tick.
   */
  isSilent(unstalledMs: number): boolean {
    return unstalledMs >= 2 * this.#timeoutMs;
  }
}

/** Words of an engine, or of its machine, that is not silent but refuses. */
const refused = /ECONNREFUSED|ECONNRESET|ENOENT|EPIPE|connection refused|connection reset|socket hang up/i;

/** Whether a failed look had no answer at all: neither the engine nor its machine said a word. */
export const isSilence = ({ code, message }: KatafleetError): boolean =>
  code === 'engine.timeout' || (code === 'engine.unreachable' && !refused.test(message));
