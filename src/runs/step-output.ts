import { mostTail, omissionLine, restOfLetter, unfinishedLetter } from '../core/output.ts';
import type { StepResult } from '../core/run.ts';
import type { Conversation } from '../protocol/conversation.ts';
import { Gathered } from './gathered.ts';

const nothing = Buffer.alloc(0);

/**
 * What a step prints on one stream, within its bounds: the first bytes up to the cap as they come, and of what was cut the last
 * ones. Letters of several bytes are kept whole at both cuts.
 */
export class StepOutput {
  readonly #conversation: Conversation;
  readonly #cap: number;
  readonly #head: Gathered;
  readonly #tail: Gathered;
  /** Bytes of the head that were not told of yet: an unfinished letter at the cap. */
  #held = nothing;
  #cut = false;

  constructor(conversation: Conversation, cap: number) {
    this.#conversation = conversation;
    this.#cap = cap;
    this.#head = new Gathered(cap);
    this.#tail = new Gathered(tailOf(cap));
  }

  /** Takes the next bytes, and gives back those to tell of now. @throws protocol.broken beyond the cap */
  add(bytes: Buffer): Buffer {
    if (this.#cut || this.#head.length + bytes.length > this.#cap) throw this.#conversation.break('more output than its cap');
    this.#head.add(bytes);
    const held = this.#head.length === this.#cap ? Math.min(unfinishedLetter(this.#head.last(3)), bytes.length) : 0;
    this.#held = Buffer.from(bytes.subarray(bytes.length - held));
    return Buffer.from(bytes.subarray(0, bytes.length - held));
  }

  cut(): void {
    this.#cut = true;
  }

  /** @throws protocol.broken beyond what was asked for */
  addTail(bytes: Buffer): void {
    if (!this.#cut || this.#tail.length + bytes.length > tailOf(this.#cap))
      throw this.#conversation.break('more of the output’s end than asked for');
    this.#tail.add(bytes);
  }

  /** `bytes`: what was printed in all, by the supervisor's word. */
  done(bytes: number): Printed {
    const [head, tail] = [this.#head.done(), this.#tail.done()];
    if (!this.#cut) return { kept: head, bytes, cut: false, rest: this.#held };
    const whole = bytes <= head.length + tail.length;
    const kept = whole ? head : head.subarray(0, head.length - unfinishedLetter(head));
    const end = whole ? tail : tail.subarray(restOfLetter(tail));
    const omitted = Math.max(0, bytes - kept.length - end.length);
    const gap = Buffer.from(omitted > 0 ? omissionLine(omitted) : '');
    return { kept, bytes, cut: true, omitted, tail: end, rest: Buffer.concat([whole ? this.#held : nothing, gap, end]) };
  }
}

/** What a step printed on one stream. */
type Printed = { kept: Buffer; bytes: number; /** What nobody was told of yet. */ rest: Buffer } & (
  { cut: false } | { cut: true; omitted: number; tail: Buffer }
);

/** The fields of a step's result. */
export function fieldsOf(stdout: Printed, stderr: Printed): Pick<StepResult, Extract<keyof StepResult, `std${string}`>> {
  return {
    stdout: stdout.kept,
    stderr: stderr.kept,
    stdoutBytes: stdout.bytes,
    stderrBytes: stderr.bytes,
    stdoutCut: stdout.cut,
    stderrCut: stderr.cut,
    ...(stdout.cut ? { stdoutOmitted: stdout.omitted, ...(stdout.tail.length > 0 ? { stdoutTail: stdout.tail } : {}) } : {}),
    ...(stderr.cut ? { stderrOmitted: stderr.omitted, ...(stderr.tail.length > 0 ? { stderrTail: stderr.tail } : {}) } : {}),
  };
}

/** Bytes of a stream's end that are kept beside as many as `cap` of its beginning. */
export const tailOf = (cap: number): number => Math.min(cap, mostTail);
