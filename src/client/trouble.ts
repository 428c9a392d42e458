import { type ErrorCode, KatafleetError } from '../model/errors.ts';

/** Longest pause that a server may ask for, ms. */
const longestAfterMs = 60_000;

export interface TroubleFacts {
  /** Whether the same call may succeed a moment later. */
  passing: boolean;
  /** Whether the server may have had the call: no answer came, and it is not certain that the call was never sent. */
  arrived: boolean;
  /** How long the server wants the client to wait, ms. */
  afterMs?: number | undefined;
}

/** The error of a call that failed, and whether it pays to make it again. */
export class CallTrouble extends KatafleetError {
  readonly passing: boolean;
  readonly arrived: boolean;
  readonly afterMs: number;

  constructor(code: ErrorCode, message: string, facts: TroubleFacts, more: ConstructorParameters<typeof KatafleetError>[2] = {}) {
    super(code, message, more);
    this.passing = facts.passing;
    this.arrived = facts.arrived;
    this.afterMs = Math.min(longestAfterMs, Math.max(0, facts.afterMs ?? this.retryAfterMs ?? 0));
  }
}

/** Reads `Retry-After`, in seconds or as a date. Returns ms, or undefined if it says nothing. */
export function retryAfter(header: string | null, now = Date.now()): number | undefined {
  if (header === null) return undefined;
  const seconds = /^\s*(\d{1,9})\s*$/.exec(header)?.[1];
  if (seconds !== undefined) return Number(seconds) * 1_000;
  const date = Date.parse(header);
  return Number.isNaN(date) ? undefined : Math.max(0, date - now);
}
