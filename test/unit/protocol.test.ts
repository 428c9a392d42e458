import assert from 'node:assert/strict';
import fc from 'fast-check';
import { encodeFrame, FrameReader, maxPayload, ProtocolBreak } from '../../src/protocol/frames.ts';
import { decodeReply } from '../../src/protocol/replies.ts';
import { encodeData, encodeExec, encodeFile } from '../../src/protocol/requests.ts';
import { anExecution } from '../support/execution.ts';
import { PayloadReader, PayloadWriter } from '../../src/protocol/wire.ts';

const frame = fc.record(
  { type: fc.nat(255), payload: fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)) },
  { noNullPrototype: true },
);

/** Cuts bytes at the given places. */
function cut(bytes: Buffer, at: number[]): Buffer[] {
  const places = [...at.map((place) => place % (bytes.length + 1)), 0, bytes.length].sort((a, b) => a - b);
  return places.slice(1).map((end, index) => bytes.subarray(places[index], end));
}

describe('protocol: frames', () => {
  it('are decoded as they were encoded, however the stream is cut', () => {
    fc.assert(
      fc.property(fc.array(frame, { maxLength: 20 }), fc.array(fc.nat()), (frames, places) => {
        const reader = new FrameReader();
        const bytes = Buffer.concat(frames.map(({ type, payload }) => encodeFrame(type, payload)));
        const read = cut(bytes, places).flatMap((chunk) =>
          Array.from(reader.read(chunk), ({ type, payload }) => ({ type, payload: Buffer.from(payload) })),
        );
        assert.deepEqual(read, frames);
        assert.ok(reader.atBoundary);
      }),
    );
  });

  it('any bytes give frames, an unfinished frame or a ProtocolBreak, and no other error', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 64 })), (chunks) => {
        const reader = new FrameReader();
        try {
          for (const chunk of chunks) for (const read of reader.read(Buffer.from(chunk))) decodeReply(read);
        } catch (error) {
          assert.ok(error instanceof ProtocolBreak, String(error));
        }
      }),
      { numRuns: 2_000 },
    );
  });

  it('a length above the bound is a ProtocolBreak before memory is allocated', () => {
    assert.throws(() => [...new FrameReader().read(Buffer.from([0x83, 0, 1, 0, 1]))], ProtocolBreak);
    assert.throws(() => encodeFrame(3, Buffer.alloc(maxPayload + 1)), RangeError);
  });

  it('a reply of any type with a payload too short or too long is a ProtocolBreak', () => {
    for (let type = 0x81; type <= 0x8e; type += 1) {
      fc.assert(
        fc.property(fc.uint8Array({ maxLength: 120 }), (payload) => {
          try {
            decodeReply({ type, payload: Buffer.from(payload) });
          } catch (error) {
            assert.ok(error instanceof ProtocolBreak, String(error));
          }
        }),
      );
    }
  });
});

describe('protocol: payloads', () => {
  it('numbers keep their value', () => {
    fc.assert(
      fc.property(
        fc.nat(255),
        fc.nat(65_535),
        fc.nat(0xffff_ffff),
        fc.bigInt(0n, 2n ** 64n - 1n),
        fc.bigInt(-(2n ** 63n), 2n ** 63n - 1n),
        fc.string(),
        (a, b, c, d, e, s) => {
          const reader = new PayloadReader(new PayloadWriter().u8(a).u16(b).u32(c).u64(d).i64(e).str(s).done());
          assert.deepEqual(
            [reader.u8(), reader.u16(), reader.u32(), reader.u64(), reader.i64(), reader.str().toString()],
            [a, b, c, d, e, Buffer.from(s).toString()],
          );
          reader.end();
        },
      ),
    );
  });

  it('time stamps before 1970 keep their nanoseconds positive', () => {
    const header = new PayloadReader(encodeFile({ path: Buffer.from('x'), mode: 0o644, mtimeNs: -1n }, 0).subarray(5));
    assert.deepEqual([header.u32(), header.i64(), header.u32()], [0o644, -1n, 999_999_999]);
  });

  it('DATA frames have all bytes, in order, each within the bound', () => {
    const bytes = Buffer.from(Array.from({ length: 150_000 }, (_, index) => index % 251));
    const frames = [...encodeData(bytes)];
    assert.equal(frames.length, 3);
    assert.deepEqual(Buffer.concat(frames.map((data) => data.subarray(5))), bytes);
  });

  it('encodeExec returns undefined for an EXEC that does not fit into a frame', () => {
    const execution = anExecution({ argv: ['x'.repeat(65_536)] });
    assert.equal(encodeExec(execution), undefined);
    assert.ok(encodeExec({ ...execution, argv: ['x'.repeat(65_000)] }));
  });
});
