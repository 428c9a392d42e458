import { shownOutput, type Stream } from '../model/output.ts';
import type { OnOutput } from '../model/request.ts';
import type { RunResult } from '../model/result.ts';

/** What a reader of live output should know about it. */
export type OutputNotice =
  /** What was told of this attempt is void: it was lost. If another one follows, its output comes from its beginning. */
  | { kind: 'void'; attempt: number; reason?: string }
  /** Some output is not kept. `late`: it comes when the run has ended; else it is gone. */
  | { kind: 'gap'; late: boolean };

const streams = ['stdout', 'stderr'] as const;

/**
 * Gives the output of a run to its reader: each byte once and in order, however often and from wherever it is told. Live output comes
 * first. What was missed of it comes from the result, whose output begins with the same bytes.
 */
export class Told {
  readonly #onOutput: OnOutput;
  readonly #notice: (notice: OutputNotice) => void;
  /** The attempt whose output is told. */
  #attempt: number | undefined;
  /** Bytes that the reader has, by step and stream. */
  #given = new Map<string, number>();
  /** Whether live output is missing. Then the rest must come from the result. */
  #gap: 'no' | 'missed' | 'told' = 'no';

  constructor(onOutput: OnOutput, notice: (notice: OutputNotice) => void) {
    this.#onOutput = onOutput;
    this.#notice = notice;
  }

  /** Gives output of an attempt as it comes. */
  async live(attempt: number, step: number, stream: Stream, bytes: Buffer): Promise<void> {
    this.begin(attempt);
    if (this.#gap === 'no') await this.#give(step, stream, bytes);
    else this.#tellGap(true);
  }

  /** An attempt has begun: what was given of another one is void. */
  begin(attempt: number): void {
    if (attempt === this.#attempt) return;
    this.void();
    this.#attempt = attempt;
  }

  /** What was given so far is void. */
  void(reason?: string): void {
    if (this.#attempt !== undefined && this.#given.size > 0)
      this.#notice({ kind: 'void', attempt: this.#attempt, ...(reason === undefined ? {} : { reason }) });
    this.#attempt = undefined;
    this.#given = new Map();
    this.#gap = 'no';
  }

  /** Live output is missing. */
  gap(): void {
    if (this.#gap === 'no') this.#gap = 'missed';
  }

  /** Gives what was not given yet. Output that a server tells again from its record has an attempt's number above the result's. */
  async complete(result: RunResult): Promise<void> {
    if (this.#attempt === undefined || this.#attempt < result.attempt) this.begin(result.attempt);
    for (const [step, printed] of result.steps.entries()) {
      for (const stream of streams) {
        const rest = shownOutput(printed, stream).subarray(this.#given.get(keyOf(step, stream)) ?? 0);
        if (rest.length > 0) await this.#give(step, stream, rest);
      }
    }
  }

  /** The run has ended without a result: what is missing never comes. */
  lost(): void {
    if (this.#gap !== 'no') this.#notice({ kind: 'gap', late: false });
  }

  #tellGap(late: boolean): void {
    if (this.#gap !== 'missed') return;
    this.#gap = 'told';
    this.#notice({ kind: 'gap', late });
  }

  async #give(step: number, stream: Stream, bytes: Buffer): Promise<void> {
    const key = keyOf(step, stream);
    this.#given.set(key, (this.#given.get(key) ?? 0) + bytes.length);
    await this.#onOutput(step, stream, bytes);
  }
}

const keyOf = (step: number, stream: Stream) => `${step} ${stream}`;
