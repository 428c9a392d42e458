import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Duplex } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import fc from 'fast-check';
import { DialledStream } from '../../../src/drivers/swarm/dial/dialled.ts';
import { dialFrame } from '../../../src/protocol/dial.ts';
import { encodeFrame, maxPayload } from '../../../src/protocol/frames.ts';
import { aliveFrame } from '../../support/dialer.ts';

/** A connection whose chunks are as they are given; then it ends, or stays. */
class Wire extends Duplex {
  readonly chunks: Buffer[];
  readonly #stays: boolean;

  constructor(chunks: Buffer[], stays = false) {
    super();
    this.chunks = chunks;
    this.#stays = stays;
  }

  override _read(): void {
    const chunk = this.chunks.shift();
    if (chunk?.length === 0) this._read();
    else if (chunk || !this.#stays) this.push(chunk ?? null);
  }

  override _write(_chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    done();
  }
}

const cutAt = (bytes: Buffer, borders: number[]): Buffer[] => {
  const at = [0, ...borders.toSorted((a, b) => a - b), bytes.length];
  return at.slice(1).map((end, index) => bytes.subarray(at[index], end));
};
const through = async (chunks: Buffer[]) => buffer(new DialledStream(new Wire(chunks), () => 0));
const other = encodeFrame(0x83, Buffer.from([dialFrame.alive, 0, 0, 0, 0, dialFrame.alive, 0]));
const empty = encodeFrame(0x8d);
const odd = encodeFrame(dialFrame.alive, Buffer.of(1));

describe('swarm: a dialled stream', () => {
  it('takes ALIVE out at every border of chunks', async () => {
    const frames = [other, aliveFrame, empty, aliveFrame, aliveFrame, odd, other];
    const bytes = Buffer.concat(frames);
    const expected = Buffer.concat(frames.filter((frame) => frame !== aliveFrame));
    for (let one = 0; one <= bytes.length; one += 1) {
      for (let two = one; two <= bytes.length; two += 1) {
        assert.deepEqual(await through(cutAt(bytes, [one, two])), expected, `cut at ${one} and ${two}`);
      }
    }
    assert.deepEqual(await through(Array.from(bytes, (byte) => Buffer.of(byte))), expected);
  });

  it('passes all else as it came, whatever the frames and the chunks', async () => {
    const frame = fc.oneof(
      fc.constant(aliveFrame),
      fc
        .tuple(fc.constantFrom(0x81, 0x83, dialFrame.alive), fc.uint8Array({ minLength: 1, maxLength: 40 }))
        .map((of) => encodeFrame(...of)),
      fc.integer({ min: 60_000, max: maxPayload }).map((length) => encodeFrame(0x88, Buffer.alloc(length, aliveFrame))),
    );
    const sent = fc.array(frame, { maxLength: 12 }).chain((frames) => {
      const bytes = Buffer.concat(frames);
      return fc.tuple(fc.constant(frames), fc.array(fc.nat(bytes.length), { maxLength: 40 }));
    });
    await fc.assert(
      fc.asyncProperty(sent, async ([frames, borders]) => {
        const expected = Buffer.concat(frames.filter((one) => one !== aliveFrame));
        assert.ok((await through(cutAt(Buffer.concat(frames), borders))).equals(expected));
      }),
    );
  });

  it('passes what ends within a frame, and a header that claims too much', async () => {
    const huge = Buffer.from('83ffffffff9100000000', 'hex');
    assert.deepEqual(await through([huge, aliveFrame]), Buffer.concat([huge, aliveFrame]));
    assert.deepEqual(await through([aliveFrame, aliveFrame.subarray(0, 4)]), aliveFrame.subarray(0, 4));
  });

  it('copies nothing', async () => {
    const chunk = Buffer.concat([aliveFrame, other, aliveFrame]);
    const stream = new DialledStream(new Wire([chunk]), () => 0);
    const [got] = (await once(stream, 'data')) as [Buffer];
    assert.deepEqual(got, other);
    assert.equal(got.buffer, chunk.buffer);
  });

  it('reads no further than one frame ahead of its reader', async () => {
    const pieces = 200;
    const wire = new Wire(Array.from({ length: pieces }, () => Buffer.alloc(16_384, empty)));
    const stream = new DialledStream(wire, () => 0);
    let read = 0;
    for (;;) {
      await new Promise((resolve) => setImmediate(resolve));
      assert.ok(
        stream.readableLength + wire.readableLength <= 128 * 1024,
        `${stream.readableLength} and ${wire.readableLength} bytes are held`,
      );
      const bytes = stream.read() as Buffer | null;
      read += bytes?.length ?? 0;
      if (stream.readableEnded) break;
    }
    assert.ok(read > 0);
    assert.equal(wire.chunks.length, 0);
  });

  it('counts silence from when it listens again', async () => {
    let now = 0;
    const stream = new DialledStream(new Wire([Buffer.alloc(65_540, empty)], true), () => now);
    await once(stream, 'readable');
    now = 10_000;
    assert.equal(stream.silentMs(), 0);
    stream.read();
    now = 10_500;
    assert.equal(stream.silentMs(), 500);
  });
});
