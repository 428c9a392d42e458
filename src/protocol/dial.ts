import { createHmac, timingSafeEqual } from 'node:crypto';
import { encodeFrame, ProtocolBreak } from './frames.ts';
import { PayloadReader, PayloadWriter } from './wire.ts';

/** Frame types of the handshake on a connection that a supervisor has dialled, and its sign of life after it: docs/protocol.md. */
export const dialFrame = { challenge: 0x10, welcome: 0x11, refused: 0x12, answer: 0x90, alive: 0x91 } as const;

/** Version of the handshake that this host speaks. */
export const dialVersion = 1;
/** Largest payload before WELCOME, bytes. */
export const maxDialPayload = 1_024;
export const nonceBytes = 32;
const macBytes = 32;
const magic = 'KATA';

/**
 * Why a connection was not welcome, by its number. Who has proved nothing hears `unproved`, and not which services there are;
 * hosts of before told 1 and 2 apart.
 */
export const refusals = { unknownService: 1, wrongSecret: 2, busy: 3, unproved: 4 } as const;
export type Refusal = keyof typeof refusals;

export interface Challenge {
  lowest: number;
  highest: number;
  nonce: Buffer;
}

/** Who a task says it is. */
export interface Identity {
  service: string;
  /** The secret's name, never the secret. */
  secret: string;
  task: string;
  /** Id of its node in the swarm. */
  node: string;
}

export interface Answer extends Identity {
  version: number;
  nonce: Buffer;
  mac: Buffer;
  /** All that the mac vouches for. */
  vouched: Buffer;
}

export interface Welcome {
  mac: Buffer;
  /** Between two ALIVE frames, ms; 0: none. */
  heartbeatMs: number;
}

export function encodeChallenge(nonce: Buffer): Buffer {
  const payload = new PayloadWriter().bytes(Buffer.from(magic)).u16(dialVersion).u16(dialVersion).bytes(nonce);
  return encodeFrame(dialFrame.challenge, payload.done());
}

/** @throws ProtocolBreak */
export function decodeChallenge(bytes: Buffer): Challenge {
  const payload = opened(bytes);
  const challenge = { lowest: payload.u16(), highest: payload.u16(), nonce: payload.bytes(nonceBytes) };
  payload.end();
  return challenge;
}

/** The supervisor's answer to a challenge, with the proof that it knows the key. */
export function encodeAnswer(key: Buffer, hostNonce: Buffer, nonce: Buffer, { service, secret, task, node }: Identity): Buffer {
  const payload = new PayloadWriter().bytes(Buffer.from(magic)).u16(dialVersion).bytes(nonce);
  const vouched = payload.str(service).str(secret).str(task).str(node).done();
  return encodeFrame(dialFrame.answer, Buffer.concat([vouched, answerMac(key, hostNonce, vouched)]));
}

/** @throws ProtocolBreak */
export function decodeAnswer(bytes: Buffer): Answer {
  const payload = opened(bytes);
  const [version, nonce] = [payload.u16(), payload.bytes(nonceBytes)];
  if (version !== dialVersion) throw new ProtocolBreak(`version ${version} of the handshake`);
  const text = () => payload.str().toString('utf8');
  const identity = { service: text(), secret: text(), task: text(), node: text() };
  const mac = payload.bytes(macBytes);
  payload.end();
  return { version, nonce, ...identity, mac, vouched: bytes.subarray(0, bytes.length - macBytes) };
}

/** Whether an answer to a nonce comes from one who knows the key. Takes as long for a wrong mac as for the right one. */
export function answerProves(key: Buffer, hostNonce: Buffer, { vouched, mac }: Answer): boolean {
  return timingSafeEqual(answerMac(key, hostNonce, vouched), mac);
}

/** The host's word that it knows the key, too: the end of the handshake. */
export function encodeWelcome(key: Buffer, taskNonce: Buffer, hostNonce: Buffer, heartbeatMs: number): Buffer {
  const payload = new PayloadWriter().bytes(welcomeMac(key, taskNonce, hostNonce, heartbeatMs)).u32(heartbeatMs);
  return encodeFrame(dialFrame.welcome, payload.done());
}

/** @throws ProtocolBreak */
export function decodeWelcome(bytes: Buffer): Welcome {
  const payload = new PayloadReader(bytes);
  const welcome = { mac: payload.bytes(macBytes), heartbeatMs: payload.u32() };
  payload.end();
  return welcome;
}

/** Whether a welcome comes from one who knows the key. Takes as long for a wrong mac as for the right one. */
export function welcomeProves(key: Buffer, taskNonce: Buffer, hostNonce: Buffer, { mac, heartbeatMs }: Welcome): boolean {
  return timingSafeEqual(welcomeMac(key, taskNonce, hostNonce, heartbeatMs), mac);
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

function answerMac(key: Buffer, hostNonce: Buffer, vouched: Buffer): Buffer {
  return createHmac('sha256', key).update('katafleet dial 1 task\0').update(hostNonce).update(vouched).digest();
}

function welcomeMac(key: Buffer, taskNonce: Buffer, hostNonce: Buffer, heartbeatMs: number): Buffer {
  const heartbeat = Buffer.alloc(4);
  heartbeat.writeUInt32BE(heartbeatMs);
  return createHmac('sha256', key).update('katafleet dial 1 host\0').update(taskNonce).update(hostNonce).update(heartbeat).digest();
}
