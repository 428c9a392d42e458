import { Duplex } from 'node:stream';
import { Conversation } from '../../src/protocol/conversation.ts';
import { encodeFrame, supervisorFrame } from '../../src/protocol/frames.ts';
import { PayloadWriter } from '../../src/protocol/wire.ts';

/** Frames that a hostile supervisor may send: they are well formed, and nothing more. */
export const frames = {
  dir: (path: Uint8Array, seconds = 1n) =>
    encodeFrame(supervisorFrame.dir, new PayloadWriter().u8(1).u32(0o755).i64(seconds).u32(0).str(path).done()),
  file: (path: Uint8Array, size: number, kind: 'file' | 'listed' = 'file') =>
    encodeFrame(supervisorFrame[kind], new PayloadWriter().u8(1).u32(0o644).i64(1n).u32(0).u64(size).str(path).done()),
  data: (bytes: Uint8Array) => encodeFrame(supervisorFrame.data, bytes),
  deleted: (path: Uint8Array) => encodeFrame(supervisorFrame.deleted, new PayloadWriter().str(path).done()),
  omitted: (path: Uint8Array, reason = 1) => encodeFrame(supervisorFrame.omitted, new PayloadWriter().u8(reason).str(path).done()),
  collected: (files: number, bytes: number, omitted: number) =>
    encodeFrame(supervisorFrame.collected, new PayloadWriter().u32(files).u64(bytes).u32(omitted).done()),
  fail: (reason: number, errno: number, message: string, path = '') =>
    encodeFrame(supervisorFrame.fail, new PayloadWriter().u8(reason).u32(errno).str(message).str(path).done()),
};

/** A path of 4,090 bytes that are not UTF-8; the number makes it unique. */
export function longPath(number: number): Buffer {
  const bytes = Buffer.alloc(4_090, 0xff);
  for (let at = 255; at < bytes.length; at += 256) bytes[at] = 0x2f;
  bytes.write(String(number).padStart(8, '0'), bytes.length - 8, 'latin1');
  return bytes;
}

/** A conversation with a supervisor that sends these frames as fast as they are read, which may be endless. */
export function saying(sent: Iterable<Uint8Array>): Conversation {
  const frames = sent[Symbol.iterator]();
  return new Conversation(
    new Duplex({
      read() {
        for (;;) {
          const next = frames.next();
          if (!this.push(next.done === true ? null : next.value) || next.done === true) return;
        }
      },
      write: (_chunk, _encoding, done) => done(),
    }),
  );
}
