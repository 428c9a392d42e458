import { randomBytes } from 'node:crypto';
import type { Socket } from 'node:net';
import { messageOf } from '../../../model/errors.ts';
import {
  type ChallengeAnswer,
  answerProves,
  decodeAnswer,
  dialFrame,
  downgraded,
  encodeChallenge,
  encodeRefused,
  encodeWelcome,
  maxDialPayload,
  nonceBytes,
  type Refusal,
} from '../../../protocol/dial.ts';
import { ProtocolBreak } from '../../../protocol/frames.ts';

/** The keys of one service's secrets. */
export interface KeyRing {
  keyOf(secret: string): Buffer | undefined;
}

/** What a handshake is checked against. */
export interface Door<Ring extends KeyRing> {
  ringOf(service: string): Ring | undefined;
  readonly heartbeatMs: number;
}

/** The result of a handshake. Unless the peer was admitted, its socket is closed or closing. */
export type HandshakeResult<Ring> =
  | { kind: 'admitted'; answer: ChallengeAnswer; ring: Ring; socket: Socket }
  | { kind: 'refused'; why: RefusalReason; answer: ChallengeAnswer }
  /** It broke the handshake's rules, or could not be checked; `what` says why. */
  | { kind: 'strange'; what: string }
  /** It closed the connection, or the connection broke. */
  | { kind: 'left' };

const headerBytes = 5;
/** Used instead of a missing key, so that a wrong name takes as long to refuse as a wrong secret. */
const decoy = randomBytes(32);
const words = {
  unproved: 'no such service here, or not its secret',
  busy: 'the service takes no sandboxes at the moment',
} as const satisfies Partial<Record<Refusal, string>>;

/** Why a peer was refused, for the log. The peer itself gets less detail. */
export type RefusalReason = 'unknownService' | 'wrongSecret' | 'downgraded' | 'busy';

/**
 * A connection that has not authenticated yet. It gets a challenge and one attempt to answer it; no more than one answer is
 * buffered. Calls back once. Handles the socket's errors until it is handed over.
 */
export class Stranger<Ring extends KeyRing> {
  readonly remote: string;
  /** On the listener's clock, ms. */
  readonly since: number;
  readonly #socket: Socket;
  readonly #door: Door<Ring>;
  readonly #onResult: (outcome: HandshakeResult<Ring>) => void;
  readonly #nonce = randomBytes(nonceBytes);
  #held: Buffer | undefined;
  #done = false;

  constructor(socket: Socket, remote: string, since: number, door: Door<Ring>, onResult: (outcome: HandshakeResult<Ring>) => void) {
    this.#socket = socket;
    this.remote = remote;
    this.since = since;
    this.#door = door;
    this.#onResult = onResult;
    socket.on('error', this.#left).on('close', this.#left).on('end', this.#left).on('data', this.#take);
    socket.write(encodeChallenge(this.#nonce));
  }

  /** Closes the connection without an answer. */
  drop(): void {
    this.#socket.destroy();
    this.#finish({ kind: 'left' });
  }

  readonly #left = (): void => {
    if (!this.#done) this.drop();
  };

  readonly #take = (chunk: Buffer): void => {
    const bytes = this.#held ? Buffer.concat([this.#held, chunk]) : chunk;
    try {
      const answer = wholeAnswer(bytes);
      if (answer) this.#judge(answer);
      else this.#held = Buffer.from(bytes);
    } catch (error) {
      this.#socket.destroy();
      this.#finish({ kind: 'strange', what: messageOf(error) });
    }
  };

  #judge(answer: ChallengeAnswer): void {
    const ring = this.#door.ringOf(answer.service);
    const key = ring?.keyOf(answer.secret);
    const proved = answerProves(key ?? decoy, this.#nonce, answer);
    if (!ring) this.#refuse('unknownService', answer);
    else if (!key?.length || !proved) this.#refuse('wrongSecret', answer);
    else if (downgraded(answer)) this.#refuse('downgraded', answer);
    else if (this.#door.ringOf(answer.service) !== ring) this.#refuse('busy', answer);
    else {
      this.#socket.off('error', this.#left).off('close', this.#left).off('end', this.#left).off('data', this.#take);
      this.#socket.write(encodeWelcome(key, answer, this.#nonce, this.#door.heartbeatMs));
      this.#finish({ kind: 'admitted', answer, ring, socket: this.#socket });
    }
  }

  #refuse(why: RefusalReason, answer: ChallengeAnswer): void {
    this.#socket.pause();
    const refusal = why === 'busy' ? why : 'unproved';
    this.#socket.end(encodeRefused(refusal, words[refusal]));
    this.#socket.destroySoon();
    this.#finish({ kind: 'refused', why, answer });
  }

  #finish(outcome: HandshakeResult<Ring>): void {
    if (this.#done) return;
    this.#done = true;
    this.#held = undefined;
    this.#onResult(outcome);
  }
}

/** The answer, once it is complete. @throws ProtocolBreak if it is no answer, or bytes follow it */
function wholeAnswer(bytes: Buffer): ChallengeAnswer | undefined {
  if (bytes[0] !== dialFrame.answer) throw new ProtocolBreak('something else than an answer to the challenge');
  if (bytes.length < headerBytes) return undefined;
  const end = headerBytes + bytes.readUInt32BE(1);
  if (end > headerBytes + maxDialPayload) throw new ProtocolBreak('an answer that is too long');
  if (bytes.length > end) throw new ProtocolBreak('more than its answer before it was welcome');
  return bytes.length === end ? decodeAnswer(bytes.subarray(headerBytes)) : undefined;
}
