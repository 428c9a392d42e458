import { createHmac, timingSafeEqual } from 'node:crypto';
import { encodeFrame, ProtocolBreak } from './frames.ts';
import { PayloadReader, PayloadWriter } from './wire.ts';

/** Frame types of the handshake on a connection that a supervisor has dialled, and of its heartbeat: docs/protocol.md. */
export const dialFrame = { challenge: 0x10, welcome: 0x11, refused: 0x12, answer: 0x90, alive: 0x91 } as const;

/** Versions of the handshake that this host speaks. Version 1 is for older supervisors only: docs/protocol.md. */
export const dialVersions = { lowest: 1, highest: 2 } as const;
/** Largest payload before WELCOME, bytes. */
export const maxDialPayload = 1_024;
export const nonceBytes = 32;
const macBytes = 32;
const sentinelBytes = 8;
const magic = 'KATA';

/**
 * Reasons for a refusal, with their numbers. A supervisor that proved nothing hears `unproved`, so that a stranger does not learn which
 * services there are. Older hosts said 1 or 2.
 */
export const refusals = { unknownService: 1, wrongSecret: 2, busy: 3, unproved: 4 } as const;
export type Refusal = keyof typeof refusals;

export interface Challenge {
  lowest: number;
  highest: number;
  nonce: Buffer;
}

/** Who a task claims to be. */
export interface Identity {
  service: string;
  /** The secret's name, never the secret. */
  secret: string;
  task: string;
  /** Id of its node in the swarm. */
  node: string;
}

/** The parts of an answer that the host's own proof covers. */
export interface Answered {
  version: number;
  nonce: Buffer;
  /** The whole payload of the answer. */
  whole: Buffer;
}

export interface ChallengeAnswer extends Identity, Answered {
  mac: Buffer;
  /** The bytes that the mac covers. */
  vouched: Buffer;
}

export interface Welcome {
  mac: Buffer;
  /** Time between two ALIVE frames, ms; 0: none. */
  heartbeatMs: number;
}

export function encodeChallenge(nonce: Buffer): Buffer {
  return encodeFrame(dialFrame.challenge, challengeOf(nonce));
}

/** @throws ProtocolBreak */
export function decodeChallenge(bytes: Buffer): Challenge {
  const payload = opened(bytes);
  const challenge = { lowest: payload.u16(), highest: payload.u16(), nonce: payload.bytes(nonceBytes) };
  payload.end();
  return challenge;
}

/** Encodes the supervisor's answer to a challenge of this host, with the proof that it knows the key. */
export function encodeAnswer(
  key: Buffer,
  hostNonce: Buffer,
  nonce: Buffer,
  { service, secret, task, node }: Identity,
  version: number = dialVersions.highest,
): Buffer {
  const payload = new PayloadWriter().bytes(Buffer.from(magic)).u16(version).bytes(nonce);
  const vouched = payload.str(service).str(secret).str(task).str(node).done();
  return encodeFrame(dialFrame.answer, Buffer.concat([vouched, answerMac(key, hostNonce, version, vouched)]));
}

/** @throws ProtocolBreak */
export function decodeAnswer(bytes: Buffer): ChallengeAnswer {
  const payload = opened(bytes);
  const [version, nonce] = [payload.u16(), payload.bytes(nonceBytes)];
  if (version < dialVersions.lowest || version > dialVersions.highest) throw new ProtocolBreak(`version ${version} of the handshake`);
  const text = () => payload.str().toString('utf8');
  const identity = { service: text(), secret: text(), task: text(), node: text() };
  const mac = payload.bytes(macBytes);
  payload.end();
  return { version, nonce, ...identity, mac, whole: bytes, vouched: bytes.subarray(0, bytes.length - macBytes) };
}

/** Whether the sender of an answer knows the key. Takes the same time for a wrong mac and a right one. */
export function answerProves(key: Buffer, hostNonce: Buffer, { version, vouched, mac }: ChallengeAnswer): boolean {
  return timingSafeEqual(answerMac(key, hostNonce, version, vouched), mac);
}

/**
 * Whether a proved supervisor speaks a higher version that this host offered, but chose a lower one: then a third party on the way has
 * changed the challenge. The end of the nonce names the supervisor's highest version.
 */
export function downgraded({ version, nonce }: Answered): boolean {
  const said = nonce.subarray(-sentinelBytes);
  return version < dialVersions.highest && said.toString('latin1', 0, magic.length) === magic && said.readUInt32BE(magic.length) > version;
}

/** Encodes the end of the handshake: the host's proof that it knows the key too. */
export function encodeWelcome(key: Buffer, answer: Answered, hostNonce: Buffer, heartbeatMs: number): Buffer {
  const payload = new PayloadWriter().bytes(welcomeMac(key, answer, hostNonce, heartbeatMs)).u32(heartbeatMs);
  return encodeFrame(dialFrame.welcome, payload.done());
}

/** @throws ProtocolBreak */
export function decodeWelcome(bytes: Buffer): Welcome {
  const payload = new PayloadReader(bytes);
  const welcome = { mac: payload.bytes(macBytes), heartbeatMs: payload.u32() };
  payload.end();
  return welcome;
}

/** Whether the sender of a welcome knows the key. Takes the same time for a wrong mac and a right one. */
export function welcomeProves(key: Buffer, answer: Answered, hostNonce: Buffer, { mac, heartbeatMs }: Welcome): boolean {
  return timingSafeEqual(welcomeMac(key, answer, hostNonce, heartbeatMs), mac);
}

export function encodeRefused(why: Refusal, words: string): Buffer {
  return encodeFrame(dialFrame.refused, new PayloadWriter().u8(refusals[why]).str(words).done());
}

/** @throws ProtocolBreak */
export function decodeRefused(bytes: Buffer): { why: Refusal; words: string } {
  const payload = new PayloadReader(bytes);
  const [reason, words] = [payload.u8(), payload.str().toString('utf8')];
  payload.end();
  for (const why of Object.keys(refusals) as Refusal[]) if (refusals[why] === reason) return { why, words };
  throw new ProtocolBreak(`an unknown reason (${reason})`);
}

function opened(bytes: Buffer): PayloadReader {
  const payload = new PayloadReader(bytes);
  if (payload.bytes(magic.length).toString('latin1') !== magic) throw new ProtocolBreak('a handshake that is not katafleet’s');
  return payload;
}

function challengeOf(nonce: Buffer): Buffer {
  const { lowest, highest } = dialVersions;
  return new PayloadWriter().bytes(Buffer.from(magic)).u16(lowest).u16(highest).bytes(nonce).done();
}

/** The mac of version 1 covers the host's nonce only, not the versions beside it. */
function answerMac(key: Buffer, hostNonce: Buffer, version: number, vouched: Buffer): Buffer {
  const asked = version > 1 ? challengeOf(hostNonce) : hostNonce;
  return createHmac('sha256', key).update(`katafleet dial ${version} task\0`).update(asked).update(vouched).digest();
}

function welcomeMac(key: Buffer, { version, nonce, whole }: Answered, hostNonce: Buffer, heartbeatMs: number): Buffer {
  const heartbeat = Buffer.alloc(4);
  heartbeat.writeUInt32BE(heartbeatMs);
  const said = version > 1 ? [challengeOf(hostNonce), whole] : [nonce, hostNonce];
  return createHmac('sha256', key)
    .update(Buffer.concat([Buffer.from(`katafleet dial ${version} host\0`), ...said, heartbeat]))
    .digest();
}
