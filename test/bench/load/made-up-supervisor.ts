import type { Duplex } from 'node:stream';
import { encodeFrame, FrameReader, hostFrame, maxPayload, supervisorFrame } from '../../../src/protocol/frames.ts';
import { ability } from '../../../src/protocol/replies.ts';
import { decodeExec } from '../../../src/protocol/requests.ts';
import { PayloadWriter } from '../../../src/protocol/wire.ts';

/** Puts the carrier's own frame around bytes of the supervisor. */
export type Carry = (bytes: Buffer) => Buffer;

const abilities = 1 | Object.values(ability).reduce((all, bit) => all | bit, 0);
const hello = encodeFrame(
  supervisorFrame.hello,
  new PayloadWriter().bytes(Buffer.from('KATA')).u16(1).u16(1).u32(abilities).str('made up').done(),
);
const [exited, killed] = [0, 4];

/** What a step says when it has ended: how, with this many bytes of output. */
function result(step: number, how: number, printed: number): Buffer {
  const payload = new PayloadWriter().u32(step).u8(how).u32(0).u32(0);
  for (const value of [1_500_000, 800_000, 400_000, 4 << 20, printed, 0]) payload.u64(value);
  return encodeFrame(supervisorFrame.result, payload.done());
}

const collected = (files: number, bytes: number) =>
  encodeFrame(supervisorFrame.collected, new PayloadWriter().u32(files).u64(bytes).u32(0).done());

const started = (step: number) => encodeFrame(supervisorFrame.started, new PayloadWriter().u32(step).done());

function inFrames(type: number, bytes: Buffer): Buffer[] {
  const frames: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += maxPayload) frames.push(encodeFrame(type, bytes.subarray(at, at + maxPayload)));
  return frames;
}

/** All that the command `work BYTES FILES SIZE` sends: so many bytes of output, and so many files of this size. */
function answerOf([bytes, files, size]: readonly number[]): Buffer {
  const [printed = 0, count = 0, length = 0] = [bytes, files, size];
  const text = (total: number) => Buffer.from('a line of what a program prints\n'.repeat(Math.ceil(total / 32))).subarray(0, total);
  const parts = [started(0), ...inFrames(supervisorFrame.stdout, text(printed)), result(0, exited, printed)];
  for (let file = 0; file < count; file += 1) {
    const header = new PayloadWriter().u8(1).u32(0o644).i64(1_700_000_000n).u32(0).u64(length).str(`made-${file}.txt`);
    parts.push(encodeFrame(supervisorFrame.file, header.done()), ...inFrames(supervisorFrame.data, text(length)));
  }
  return Buffer.concat([...parts, collected(count, count * length)]);
}

/**
 * A supervisor that runs nothing: the command `work BYTES FILES SIZE` prints and makes files at once, `hold` runs until it is killed. The
 * bytes of each answer are made once, so that it takes little of the CPU that is measured.
 */
export class MadeUpSupervisors {
  readonly #carry: Carry;
  readonly #answers = new Map<string, Buffer>();
  readonly #hello: Buffer;

  constructor(carry: Carry = (bytes) => bytes) {
    this.#carry = carry;
    this.#hello = carry(hello);
  }

  /** Answers over a stream until it ends. */
  serve(stream: Duplex): void {
    const reader = new FrameReader();
    stream.on('error', () => undefined);
    stream.on('data', (chunk: Buffer) => {
      for (const { type, payload } of reader.read(chunk)) {
        if (type === hostFrame.exec) this.#exec(stream, payload);
        else if (type === hostFrame.kill) stream.write(this.#carry(Buffer.concat([result(0, killed, 0), collected(0, 0)])));
        else if (type === hostFrame.close) stream.end();
      }
    });
    stream.write(this.#hello);
  }

  #exec(stream: Duplex, payload: Buffer): void {
    const { argv } = decodeExec(payload);
    if (argv[0] === 'hold') {
      stream.write(this.#carry(started(0)));
      return;
    }
    const words = argv.slice(1).join(' ');
    const answer = this.#answers.get(words) ?? this.#carry(answerOf(argv.slice(1).map(Number)));
    this.#answers.set(words, answer);
    stream.write(answer);
  }
}
