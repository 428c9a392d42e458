import { mostTail, omissionLine, restOfLetter, unfinishedLetter } from '../../model/output.ts';
import type { StepResult } from '../../model/result.ts';
import type { Conversation } from '../../protocol/conversation.ts';
import { Gathered } from './gathered.ts';
import { LastBytes } from './last-bytes.ts';
import { endlessRoom, type OutputRoom } from '../room/output-budget.ts';

const nothing = Buffer.alloc(0);
/** Bytes of a stream's end that are kept even without room: 5 MiB for the most steps of a run. */
const leastEnd = 256;

/**
 * The output of a step on one stream, within its bounds: the first bytes up to the cap, as they come, and the last bytes of what was
 * cut. Letters of several bytes stay whole at both cuts. If there is no room for more, the output is cut before its cap in the same
 * way; the program is not slowed down.
 */
export class StepOutput {
  readonly #conversation: Conversation;
  readonly #cap: number;
  readonly #room: OutputRoom;
  readonly #head: Gathered;
  /** Created when output is cut. */
  #end: LastBytes | undefined;
  /** Bytes that have come: up to the cap, and of the end. */
  readonly #received = { head: 0, tail: 0 };
  /** Bytes of the head that were not passed on yet: an unfinished letter at the cap. */
  #withheld = nothing;
  #cut = false;

  constructor(conversation: Conversation, cap: number, room: OutputRoom = endlessRoom) {
    this.#conversation = conversation;
    this.#cap = cap;
    this.#room = room;
    this.#head = new Gathered(cap);
  }

  /** Takes the next bytes, and returns those to pass on now. @throws protocol.broken beyond the cap */
  add(bytes: Buffer): Buffer {
    this.#received.head += bytes.length;
    if (this.#cut || this.#received.head > this.#cap) throw this.#conversation.break('more output than its cap');
    const kept = this.#end ? nothing : this.#keep(bytes);
    if (kept.length < bytes.length) this.#ending().add(bytes.subarray(kept.length));
    const withheld = this.#head.length === this.#cap ? Math.min(unfinishedLetter(this.#head.last(3)), kept.length) : 0;
    this.#withheld = Buffer.from(kept.subarray(kept.length - withheld));
    return Buffer.from(kept.subarray(0, kept.length - withheld));
  }

  /** Keeps the bytes that have room. If the first bytes of a letter were passed on, the rest of it is kept too. */
  #keep(bytes: Buffer): Buffer {
    const room = this.#room.keep(bytes.length, 'beginning');
    this.#head.add(bytes.subarray(0, room));
    const rest = room < bytes.length && unfinishedLetter(this.#head.last(3)) > 0 ? restOfLetter(bytes.subarray(room)) : 0;
    this.#head.add(bytes.subarray(room, room + rest));
    return bytes.subarray(0, room + rest);
  }

  #ending(): LastBytes {
    const most = tailOf(this.#cap);
    this.#end ??= new LastBytes(Math.max(this.#room.keep(most, 'end'), Math.min(most, leastEnd)));
    return this.#end;
  }

  cut(): void {
    this.#cut = true;
  }

  /** Takes bytes of the end. @throws protocol.broken for more than was asked for */
  addTail(bytes: Buffer): void {
    this.#received.tail += bytes.length;
    if (!this.#cut || this.#received.tail > tailOf(this.#cap)) throw this.#conversation.break('more of the output’s end than asked for');
    this.#ending().add(bytes);
  }

  /** Returns the stream's output. `bytes`: the number of bytes printed, as the supervisor reports it. */
  done(bytes: number): PrintedStream {
    const head = this.#head.done();
    // An older supervisor sends no end, so the last bytes that came are not the end.
    const endless = this.#received.tail === 0 && bytes > this.#received.head;
    const tail = (endless ? undefined : this.#end?.done()) ?? nothing;
    if (!this.#cut && !this.#end) return { beginning: head, bytes, cut: false, rest: this.#withheld };
    const whole = bytes <= head.length + tail.length;
    const kept = whole ? head : head.subarray(0, head.length - unfinishedLetter(head));
    const end = whole ? tail : tail.subarray(restOfLetter(tail));
    const omitted = Math.max(0, bytes - kept.length - end.length);
    const gap = Buffer.from(omitted > 0 ? omissionLine(omitted) : '');
    return { beginning: kept, bytes, cut: true, omitted, tail: end, rest: Buffer.concat([whole ? this.#withheld : nothing, gap, end]) };
  }
}

/** The output of a step on one stream. */
type PrintedStream = { beginning: Buffer; bytes: number; /** Bytes that were not passed on yet. */ rest: Buffer } & (
  { cut: false } | { cut: true; omitted: number; tail: Buffer }
);

/** Returns the output's fields in a step's result. */
export function fieldsOf(stdout: PrintedStream, stderr: PrintedStream): Pick<StepResult, Extract<keyof StepResult, `std${string}`>> {
  return {
    stdout: stdout.beginning,
    stderr: stderr.beginning,
    stdoutBytes: stdout.bytes,
    stderrBytes: stderr.bytes,
    stdoutCut: stdout.cut,
    stderrCut: stderr.cut,
    ...(stdout.cut ? { stdoutOmitted: stdout.omitted, ...(stdout.tail.length > 0 ? { stdoutTail: stdout.tail } : {}) } : {}),
    ...(stderr.cut ? { stderrOmitted: stderr.omitted, ...(stderr.tail.length > 0 ? { stderrTail: stderr.tail } : {}) } : {}),
  };
}

/** Bytes of a stream's end that are kept in addition to `cap` bytes of its beginning. */
export const tailOf = (cap: number): number => Math.min(cap, mostTail);
