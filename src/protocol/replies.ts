import { decodePath, pathFault, pathLimits } from '../model/paths.ts';
import { type ListedFile, omissions, type Omission } from '../model/result.ts';
import { type Frame, ProtocolBreak, supervisorFrame } from './frames.ts';
import { PayloadReader } from './wire.ts';

const nsPerSecond = 1_000_000_000n;
/** Bounds of time stamps: the range of 64 bits of ns, 1677 to 2262. A program can set any second on a tmpfs. */
const [earliestNs, latestNs] = [-(2n ** 63n), 2n ** 63n - 1n];
/** Most bytes that are kept of the version in HELLO and of the message in FAIL. */
const [mostVersion, mostMessage] = [256, 1_000];

/** A frame of the supervisor, decoded and checked. */
export type Reply =
  | { kind: 'hello'; lowest: number; highest: number; abilities: number; version: string }
  | { kind: 'started'; step: number }
  | { kind: 'output'; stream: 'stdout' | 'stderr'; bytes: Buffer }
  | { kind: 'cut'; stream: 'stdout' | 'stderr' }
  /** Some of the last bytes of a stream that was cut, in order. */
  | { kind: 'tail'; stream: 'stdout' | 'stderr'; bytes: Buffer }
  | ({ kind: 'result' } & RawResult)
  | ({ kind: 'file' } & ListedFile)
  /** A file whose bytes don't follow. */
  | ({ kind: 'listed' } & ListedFile)
  | { kind: 'data'; bytes: Buffer }
  | { kind: 'dir'; path: string; mode: number; mtimeNs: bigint }
  | { kind: 'deleted'; path: string }
  | { kind: 'omitted'; path: string; reason: Omission }
  | { kind: 'collected'; files: number; bytes: number; omitted: number }
  | { kind: 'pong'; bytes: Buffer }
  | { kind: 'fail'; reason: FailReason; errno: number; message: string; path: string };

/** Abilities of a supervisor beyond the first release of the protocol: bits of HELLO. */
export const ability = {
  /** Sees how many processes the kernel killed for memory. */
  oom: 2,
  /** BASELINE and LIST. */
  baseline: 128,
  /** Keeps the end of output that is cut, and makes files that come after a step newer than what it built. */
  tail: 256,
  /** BACK. */
  back: 512,
  /** Can refuse System V IPC to a step. */
  ipc: 2048,
} as const;

const endings = ['exited', 'signalled', 'wall', 'cpu', 'killed', 'disk'] as const;

/** RESULT as it was sent; times in ns. */
export interface RawResult {
  step: number;
  how: (typeof endings)[number];
  /** Exit code or signal. */
  code: number;
  oomKills: number;
  wallNs: number;
  userNs: number;
  systemNs: number;
  peakMemory: number;
  stdoutBytes: number;
  stderrBytes: number;
}

const failReasons = ['protocol', 'version', 'no_space', 'file', 'supervisor', 'lifetime'] as const;
export type FailReason = (typeof failReasons)[number];

/** Decodes a frame of the supervisor. @throws ProtocolBreak */
export function decodeReply(frame: Frame): Reply {
  const decode = decoders[frame.type];
  if (decode === undefined) throw new ProtocolBreak(`an unknown frame type 0x${frame.type.toString(16)}`);
  const payload = new PayloadReader(frame.payload);
  const reply = decode(payload);
  payload.end();
  return reply;
}

const decoders: Record<number, (payload: PayloadReader) => Reply> = {
  [supervisorFrame.hello]: (payload) => {
    if (payload.bytes(4).toString('latin1') !== 'KATA') throw new ProtocolBreak('a greeting that is not the supervisor’s');
    const [lowest, highest, abilities] = [payload.u16(), payload.u16(), payload.u32()];
    return { kind: 'hello', lowest, highest, abilities, version: words(payload, mostVersion) };
  },
  [supervisorFrame.started]: (payload) => ({ kind: 'started', step: payload.u32() }),
  [supervisorFrame.stdout]: (payload) => ({ kind: 'output', stream: 'stdout', bytes: some(payload.rest()) }),
  [supervisorFrame.stderr]: (payload) => ({ kind: 'output', stream: 'stderr', bytes: some(payload.rest()) }),
  [supervisorFrame.cut]: (payload) => ({ kind: 'cut', stream: oneOf(payload.u8() - 1, ['stdout', 'stderr'] as const, 'stream') }),
  [supervisorFrame.tail]: (payload) => ({
    kind: 'tail',
    stream: oneOf(payload.u8() - 1, ['stdout', 'stderr'] as const, 'stream'),
    bytes: some(payload.rest()),
  }),
  [supervisorFrame.result]: (payload) => ({
    kind: 'result',
    step: payload.u32(),
    how: oneOf(payload.u8(), endings, 'ending'),
    code: payload.i32(),
    oomKills: payload.u32(),
    wallNs: payload.size(),
    userNs: payload.size(),
    systemNs: payload.size(),
    peakMemory: payload.size(),
    stdoutBytes: payload.size(),
    stderrBytes: payload.size(),
  }),
  [supervisorFrame.file]: (payload) => ({ kind: 'file', ...fileHeader(payload) }),
  [supervisorFrame.listed]: (payload) => ({ kind: 'listed', ...fileHeader(payload) }),
  [supervisorFrame.data]: (payload) => ({ kind: 'data', bytes: some(payload.rest()) }),
  [supervisorFrame.dir]: (payload) => {
    oneOf(payload.u8() - 1, ['created'] as const, 'kind of change');
    return { kind: 'dir', ...stamp(payload), path: path(payload) };
  },
  [supervisorFrame.deleted]: (payload) => ({ kind: 'deleted', path: path(payload) }),
  [supervisorFrame.omitted]: (payload) => {
    const reason = oneOf(payload.u8() - 1, omissions, 'reason');
    return { kind: 'omitted', reason, path: anyPath(payload) };
  },
  [supervisorFrame.collected]: (payload) => ({ kind: 'collected', files: payload.u32(), bytes: payload.size(), omitted: payload.u32() }),
  [supervisorFrame.pong]: (payload) => ({ kind: 'pong', bytes: payload.rest() }),
  [supervisorFrame.fail]: (payload) => {
    const reason = oneOf(payload.u8() - 1, failReasons, 'reason');
    const errno = payload.u32();
    return { kind: 'fail', reason, errno, message: words(payload, mostMessage), path: anyPath(payload) };
  },
};

function some(bytes: Buffer): Buffer {
  if (bytes.length === 0) throw new ProtocolBreak('an empty frame of bytes');
  return bytes;
}

function oneOf<T>(index: number, names: readonly T[], what: string): T {
  const name = names[index];
  if (name === undefined) throw new ProtocolBreak(`an unknown ${what} (${index})`);
  return name;
}

function fileHeader(payload: PayloadReader): ListedFile {
  const change = oneOf(payload.u8() - 1, ['created', 'changed'] as const, 'kind of change');
  const { mode, mtimeNs } = stamp(payload);
  const size = payload.size();
  return { change, mode, mtimeNs, size, path: path(payload) };
}

function stamp(payload: PayloadReader): { mode: number; mtimeNs: bigint } {
  const mode = payload.u32();
  const seconds = payload.i64();
  const nanoseconds = payload.u32();
  if (mode > 0o7777) throw new ProtocolBreak(`a mode of ${mode}`);
  if (nanoseconds > 999_999_999) throw new ProtocolBreak(`${nanoseconds} nanoseconds`);
  return { mode, mtimeNs: bounded(seconds * nsPerSecond + BigInt(nanoseconds)) };
}

const bounded = (ns: bigint) => (ns < earliestNs ? earliestNs : ns > latestNs ? latestNs : ns);

/** Text that is only shown to people, cut to `most` bytes. */
function words(payload: PayloadReader, most: number): string {
  return payload.str().subarray(0, most).toString('utf8');
}

/** A path that is only shown to people; its form is not checked. */
function anyPath(payload: PayloadReader): string {
  const bytes = payload.str();
  if (bytes.length > pathLimits.bytes) throw new ProtocolBreak(`a path of ${bytes.length} bytes`);
  return decodePath(bytes);
}

function path(payload: PayloadReader): string {
  const bytes = payload.str();
  const fault = pathFault(bytes);
  if (fault !== undefined) throw new ProtocolBreak(`a path that ${fault}`);
  return decodePath(bytes);
}
