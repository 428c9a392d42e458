import type { GlobProgram } from '../model/glob.ts';
import { type ExecLimit, limitNames, limitOf } from '../model/limits.ts';
import type { Profile } from '../model/profile.ts';
import { encodeFrame, hostFrame, maxPayload } from './frames.ts';
import { PayloadReader, PayloadWriter } from './wire.ts';

/** Version of docs/protocol.md that this host speaks. */
export const protocolVersion = 1;
const nsPerSecond = 1_000_000_000n;

/** The fields of OPEN: the sandbox user, and how much may come back. */
export interface Opening {
  uid: number;
  gid: number;
  /** Time from OPEN until the supervisor exits by itself, ms. */
  lifetimeMs: number;
  filesBack: number;
  fileBack: number;
  bytesBack: number;
}

/** EXEC's numbers: the limits that the table of limits assigns to it, and how many processes the step may have. */
interface ExecNumbers extends Pick<Profile, ExecLimit> {
  /** 0: the container's pids limit alone. */
  processes: number;
}

/** The fields of EXEC. Sizes are bytes, times ms. */
export interface Execution extends ExecNumbers {
  step: number;
  keepNetwork: boolean;
  collect: boolean;
  /** False: the step has no System V IPC; only for a supervisor with the ability `ipc`. True if absent. */
  ipc?: boolean;
  /** How many bytes to keep of the end of a stream that is cut. Only for a supervisor with the ability `tail`. */
  tails?: { stdout: number; stderr: number };
  /** Empty: the sandbox folder. */
  cwd: string;
  argv: readonly string[];
  env: readonly string[];
}

/** {@link ExecNumbers} in the order of the wire. */
export const execNumbers = [
  ...limitNames.flatMap((name) => {
    const { exec } = limitOf(name);
    return exec ? [{ ...exec, name: name as ExecLimit }] : [];
  }),
  { name: 'processes' as const, place: 6, bits: 32 as const },
].sort((a, b) => a.place - b.place);

export interface EntryHeader {
  path: Buffer;
  mode: number;
  mtimeNs: bigint;
}

export function encodeOpen(opening: Opening): Buffer {
  const payload = new PayloadWriter().u16(protocolVersion).u32(opening.uid).u32(opening.gid).u32(opening.lifetimeMs);
  return payload.u32(opening.filesBack).u64(opening.fileBack).u64(opening.bytesBack).frame(hostFrame.open);
}

export function encodeFile(header: EntryHeader, size: number): Buffer {
  return entry(new PayloadWriter(), header).u64(size).str(header.path).frame(hostFrame.file);
}

export function encodeDir(header: EntryHeader): Buffer {
  return entry(new PayloadWriter(), header).str(header.path).frame(hostFrame.dir);
}

export function encodeDelete(path: Buffer): Buffer {
  return new PayloadWriter().str(path).frame(hostFrame.delete);
}

const operations = { match: 0, range: 1, other: 2, split: 3 } as const;

/** Encodes BACK: which paths come back; all if the program is empty. Only for a supervisor with the ability `back`. */
export function encodeBack(program: GlobProgram): Buffer {
  const payload = new PayloadWriter().u16(program.length);
  for (const { op, a, b } of program) payload.u8(operations[op]).u32(a).u32(b);
  return payload.frame(hostFrame.back);
}

export function encodeStdin(size: number): Buffer {
  return new PayloadWriter().u64(size).frame(hostFrame.stdin);
}

/** Whether arguments, environment (`NAME=VALUE`) and folder of a step fit into EXEC's one frame of 64 KiB. */
export function fitsExec({ argv, env, cwd }: Pick<Execution, 'argv' | 'env' | 'cwd'>): boolean {
  const rest = Buffer.byteLength(cwd) + 128;
  return [...argv, ...env].reduce((sum, text) => sum + 2 + Buffer.byteLength(text), rest) <= maxPayload;
}

const execFlags = { keepNetwork: 1, collect: 2, noIpc: 4, tails: 8 } as const;

/** Encodes EXEC; undefined if it does not fit into one frame, see {@link fitsExec}. */
export function encodeExec(execution: Execution): Buffer | undefined {
  if (!fitsExec(execution)) return undefined;
  const walls = (execution.keepNetwork ? execFlags.keepNetwork : 0) | (execution.ipc === false ? execFlags.noIpc : 0);
  const flags = walls | (execution.collect ? execFlags.collect : 0) | (execution.tails ? execFlags.tails : 0);
  const payload = new PayloadWriter().u32(execution.step).u8(flags);
  for (const { name, bits } of execNumbers) {
    if (bits === 32) payload.u32(execution[name]);
    else payload.u64(execution[name]);
  }
  payload.str(execution.cwd);
  payload.u16(execution.argv.length);
  for (const argument of execution.argv) payload.str(argument);
  payload.u16(execution.env.length);
  for (const variable of execution.env) payload.str(variable);
  if (execution.tails) payload.u32(execution.tails.stdout).u32(execution.tails.stderr);
  return payload.frame(hostFrame.exec);
}

/** Decodes the payload of EXEC, for fakes of a supervisor: the inverse of {@link encodeExec}. @throws ProtocolBreak */
export function decodeExec(bytes: Buffer): Execution {
  const payload = new PayloadReader(bytes);
  const [step, flags] = [payload.u32(), payload.u8()];
  const numbers = Object.fromEntries(execNumbers.map(({ name, bits }) => [name, bits === 32 ? payload.u32() : payload.size()]));
  const cwd = payload.str().toString();
  const texts = () => Array.from({ length: payload.u16() }, () => payload.str().toString());
  const [argv, env] = [texts(), texts()];
  const tails = flags & execFlags.tails ? { stdout: payload.u32(), stderr: payload.u32() } : undefined;
  payload.end();
  return {
    ...(numbers as unknown as ExecNumbers),
    ...{ step, cwd, argv, env },
    keepNetwork: (flags & execFlags.keepNetwork) !== 0,
    collect: (flags & execFlags.collect) !== 0,
    ipc: (flags & execFlags.noIpc) === 0,
    ...(tails ? { tails } : {}),
  };
}

/** Encodes bytes as DATA frames. */
export function* encodeData(bytes: Uint8Array): Generator<Buffer> {
  for (let at = 0; at < bytes.length; at += maxPayload) yield encodeFrame(hostFrame.data, bytes.subarray(at, at + maxPayload));
}

function entry(payload: PayloadWriter, header: EntryHeader): PayloadWriter {
  const nanoseconds = ((header.mtimeNs % nsPerSecond) + nsPerSecond) % nsPerSecond;
  return payload
    .u32(header.mode & 0o7777)
    .i64((header.mtimeNs - nanoseconds) / nsPerSecond)
    .u32(Number(nanoseconds));
}
