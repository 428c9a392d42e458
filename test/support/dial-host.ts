import { createHmac, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { type Profile, profileOf } from '../../src/model/profile.ts';
import { Step, type StepInput, type OnOutput } from '../../src/model/request.ts';
import type { StepResult } from '../../src/model/result.ts';
import { Conversation } from '../../src/protocol/conversation.ts';
import { encodeOpen } from '../../src/protocol/requests.ts';
import { executeStep } from '../../src/runs/attempt/execute.ts';
import { user } from './supervisor.ts';

/** Types of the dial handshake's frames. */
export const dialFrame = { challenge: 0x10, welcome: 0x11, refused: 0x12, answer: 0x90, alive: 0x91 } as const;
const headerBytes = 5;

export const frame = (type: number, payload: Uint8Array = Buffer.alloc(0)): Buffer => {
  const header = Buffer.alloc(headerBytes);
  header.writeUInt8(type);
  header.writeUInt32BE(payload.length, 1);
  return Buffer.concat([header, payload]);
};

export const challenge = (nonce: Uint8Array, lowest = 1, highest = 2): Buffer =>
  frame(dialFrame.challenge, Buffer.concat([Buffer.from('KATA'), Buffer.from([0, lowest, 0, highest]), nonce]));

const mac = (key: Uint8Array, version: number, who: 'task' | 'host', ...parts: Uint8Array[]): Buffer =>
  createHmac('sha256', key)
    .update(Buffer.concat([Buffer.from(`katafleet dial ${version} ${who}\0`), ...parts]))
    .digest();
/** Returns the part of a CHALLENGE that the proofs of a version cover. */
const asked = (version: number, sent: Uint8Array): Uint8Array => sent.subarray(version > 1 ? headerBytes : headerBytes + 8);

/** The fields of an ANSWER, and whether its sender knows the key. */
export interface Answer {
  readonly version: number;
  readonly nonce: Buffer;
  readonly names: string[];
  readonly proves: boolean;
  readonly payload: Buffer;
}

/** Reads an ANSWER's payload; `sent` is the CHALLENGE before it. */
export function readAnswer(payload: Buffer, key: Uint8Array, sent: Uint8Array): Answer {
  const names: string[] = [];
  let at = 38;
  for (let i = 0; i < 4; i++) {
    const length = payload.readUInt16BE(at);
    names.push(payload.toString('utf8', at + 2, at + 2 + length));
    at += 2 + length;
  }
  if (payload.toString('latin1', 0, 4) !== 'KATA' || payload.length !== at + 32) throw new Error('a malformed ANSWER');
  const version = payload.readUInt16BE(4);
  const proves = mac(key, version, 'task', asked(version, sent), payload.subarray(0, at)).equals(payload.subarray(at));
  return { version, nonce: payload.subarray(6, 38), names, proves, payload };
}

/** Returns the WELCOME to this ANSWER; `sent` is the CHALLENGE before it. */
export function welcome(
  key: Uint8Array,
  answer: Pick<Answer, 'version' | 'nonce' | 'payload'>,
  sent: Uint8Array,
  heartbeatMs: number,
): Buffer {
  const heartbeat = Buffer.alloc(4);
  heartbeat.writeUInt32BE(heartbeatMs);
  const { version, nonce, payload } = answer;
  const parts = version > 1 ? [asked(version, sent), payload] : [nonce, asked(version, sent)];
  return frame(dialFrame.welcome, Buffer.concat([mac(key, version, 'host', ...parts, heartbeat), heartbeat]));
}

export interface CallOptions {
  readonly step?: Omit<StepInput, 'argv'>;
  readonly profile?: Partial<Profile>;
  readonly keepNetwork?: boolean;
  readonly onOutput?: OnOutput;
  readonly onStarted?: () => void;
}

/** One connection from a supervisor. It is also the stream of the protocol: it takes ALIVE out and counts it. */
export class Caller extends Duplex {
  readonly socket: Socket;
  readonly key: Uint8Array;
  readonly nonce = randomBytes(32);
  /** The CHALLENGE that it sends, or has sent. */
  asked = challenge(this.nonce);
  alive = 0;
  #bytes = Buffer.alloc(0);
  #over = false;
  #proved = false;
  #step = 0;
  #wake = (): void => undefined;

  constructor(socket: Socket, key: Uint8Array) {
    super();
    this.socket = socket;
    this.key = key;
    socket.on('data', (chunk: Buffer) => {
      this.#bytes = Buffer.concat([this.#bytes, chunk]);
      if (this.#proved) this.#pass();
      this.#wake();
    });
    socket.on('error', () => undefined); // 'close' follows
    socket.on('close', () => {
      this.#over = true;
      if (this.#proved) this.push(null);
      this.#wake();
    });
  }

  #take(): { type: number; payload: Buffer } | undefined {
    if (this.#bytes.length < headerBytes) return undefined;
    const end = headerBytes + this.#bytes.readUInt32BE(1);
    if (this.#bytes.length < end) return undefined;
    const taken = { type: this.#bytes.readUInt8(), payload: this.#bytes.subarray(headerBytes, end) };
    this.#bytes = this.#bytes.subarray(end);
    return taken;
  }

  #pass(): void {
    for (let next = this.#take(); next; next = this.#take()) {
      if (next.type === dialFrame.alive) this.alive += 1;
      else if (!this.push(frame(next.type, next.payload))) this.socket.pause();
    }
  }

  async #until(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise<void>((resolve) => (this.#wake = resolve));
  }

  /** Resolves when the supervisor has closed the connection. */
  left(): Promise<void> {
    return this.#until(() => this.#over);
  }

  /** Resolves when the supervisor has sent this many more ALIVE, or has closed the connection. */
  heartbeats(count: number): Promise<void> {
    const enough = this.alive + count;
    return this.#until(() => this.alive >= enough || this.#over);
  }

  say(...frames: Uint8Array[]): void {
    this.socket.write(Buffer.concat(frames));
  }

  /** Sends a CHALLENGE and returns the ANSWER; undefined if the supervisor closes the connection. */
  async challenged(highest?: number): Promise<Answer | undefined> {
    this.asked = challenge(this.nonce, 1, highest);
    this.say(this.asked);
    return this.answered();
  }

  async answered(): Promise<Answer | undefined> {
    let answer: { type: number; payload: Buffer } | undefined;
    await this.#until(() => (answer = this.#take()) !== undefined || this.#over);
    if (!answer) return undefined;
    if (answer.type !== dialFrame.answer) throw new Error(`frame ${answer.type} in place of ANSWER`);
    return readAnswer(answer.payload, this.key, this.asked);
  }

  /** Does the whole handshake; sends `more` in one piece with WELCOME. */
  async admit(heartbeatMs = 1000, ...more: Uint8Array[]): Promise<Conversation> {
    return this.welcomed(await this.challenged(), heartbeatMs, ...more);
  }

  /** Ends the handshake: sends WELCOME. Fails if the ANSWER does not prove the key. */
  welcomed(answer: Answer | undefined, heartbeatMs = 1000, ...more: Uint8Array[]): Conversation {
    if (!answer?.proves) throw new Error('the supervisor proves nothing');
    this.#proved = true;
    this.say(welcome(this.key, answer, this.asked, heartbeatMs), ...more);
    this.#pass();
    return new Conversation(this);
  }

  /** Does the handshake, reads HELLO and sends OPEN. */
  async open(heartbeatMs?: number, lifetimeMs = 60_000): Promise<Conversation> {
    const conversation = await this.admit(heartbeatMs);
    await conversation.hello();
    await conversation.send(opening(lifetimeMs));
    return conversation;
  }

  run(conversation: Conversation, argv: string[], { profile, ...options }: CallOptions = {}): Promise<StepResult> {
    this.#step += 1;
    const parsed = Step.parse({ argv, ...options.step });
    return executeStep(conversation, this.#step, parsed, profileOf(profile), { collect: false, ...options });
  }

  override _read(): void {
    this.socket.resume();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.socket.write(chunk, () => done());
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.socket.destroy();
    done(error);
  }
}

export function opening(lifetimeMs = 60_000): Buffer {
  const { filesBack, fileBack, bytesBack } = profileOf();
  return encodeOpen({ ...user, lifetimeMs, filesBack, fileBack, bytesBack });
}

/** A host that supervisors dial: a plain listener. The test decides every frame that it sends. */
export class DialHost {
  readonly key: Uint8Array;
  readonly #server: Server;
  readonly #callers: Caller[] = [];
  readonly #all: Caller[] = [];
  #wake = (): void => undefined;

  private constructor(key: Uint8Array) {
    this.key = key;
    this.#server = createServer({ noDelay: true }, (socket) => {
      const caller = new Caller(socket, key);
      this.#all.push(caller);
      this.#callers.push(caller);
      this.#wake();
    });
  }

  static async listen(key: Uint8Array, host = '127.0.0.1', port = 0): Promise<DialHost> {
    const made = new DialHost(key);
    made.#server.listen(port, host);
    await once(made.#server, 'listening');
    return made;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** How many connections there were so far. */
  get calls(): number {
    return this.#all.length;
  }

  /** Resolves with the next connection. */
  async caller(): Promise<Caller> {
    for (;;) {
      const caller = this.#callers.shift();
      if (caller) return caller;
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    for (const caller of this.#all) caller.destroy();
    await closed;
  }
}
