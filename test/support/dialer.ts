import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import {
  type Challenge,
  decodeAnswer,
  decodeChallenge,
  decodeRefused,
  decodeWelcome,
  dialFrame,
  encodeAnswer,
  type Identity,
  type Refusal,
  type Welcome,
  welcomeProves,
} from '../../src/protocol/dial.ts';
import { encodeFrame, type Frame, FrameReader } from '../../src/protocol/frames.ts';

export const aliveFrame = encodeFrame(dialFrame.alive);
/** The key of the protocol page's example. */
export const someKey = Buffer.from(Array.from({ length: 32 }, (_, at) => at));
export const someTask: Identity = { service: 'pool', secret: 'k-1', task: 'task-1', node: 'node-1' };
export const someNonce = Buffer.alloc(32, 0xbb);
/** The nonce of a supervisor that speaks version 2 and was not offered it. */
export const sentinelNonce = Buffer.from(`${'bb'.repeat(24)}${Buffer.from('KATA').toString('hex')}00000002`, 'hex');
export const payloadOf = (frame: Buffer): Buffer => frame.subarray(5);

/** The supervisor's end of a connection. The test decides every frame that it sends. */
export class Dialer {
  readonly socket: Socket;
  readonly #reader = new FrameReader();
  readonly #frames: Frame[] = [];
  #over = false;
  #wake: (() => void) | undefined;
  /** Resolves when the host has closed or reset the connection. */
  readonly closed: Promise<void>;

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (chunk: Buffer) => {
      for (const frame of this.#reader.read(chunk)) this.#frames.push({ ...frame, payload: Buffer.from(frame.payload) });
      this.#wake?.();
    });
    this.closed = new Promise((resolve) => {
      const over = () => {
        this.#over = true;
        this.#wake?.();
        resolve();
      };
      socket.on('end', over).on('close', over);
      socket.on('error', () => undefined); // a reset; `close` follows
    });
  }

  /** Connects from an address of the loopback net. */
  static async connect(port: number, from = '127.0.0.1'): Promise<Dialer> {
    const socket = connect({ port, host: '127.0.0.1', localAddress: from, noDelay: true, allowHalfOpen: true });
    await once(socket, 'connect');
    return new Dialer(socket);
  }

  /** Returns the host's next frame; undefined if the host has closed the connection. */
  async next(): Promise<Frame | undefined> {
    while (this.#frames.length === 0 && !this.#over) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    return this.#frames.shift();
  }

  async #expect(type: number): Promise<Buffer> {
    const frame = await this.next();
    assert.equal(frame?.type, type);
    return frame?.payload ?? Buffer.alloc(0);
  }

  async challenge(): Promise<Challenge> {
    return decodeChallenge(await this.#expect(dialFrame.challenge));
  }

  async welcome(): Promise<Welcome> {
    return decodeWelcome(await this.#expect(dialFrame.welcome));
  }

  /** Returns why the host refused the connection. Waits until the host has closed it. */
  async refused(): Promise<Refusal> {
    const { why } = decodeRefused(await this.#expect(dialFrame.refused));
    await this.closed;
    assert.equal(await this.next(), undefined);
    return why;
  }

  /** Does the whole handshake as a supervisor does, checks the host's proof, and returns WELCOME. */
  async prove(identity: Partial<Identity> = {}, key: Buffer = someKey, version?: number): Promise<Welcome> {
    const { nonce } = await this.challenge();
    const answer = encodeAnswer(key, nonce, someNonce, { ...someTask, ...identity }, version);
    this.socket.write(answer);
    const welcome = await this.welcome();
    assert.ok(welcomeProves(key, decodeAnswer(payloadOf(answer)), nonce, welcome));
    return welcome;
  }

  /** Sends an ANSWER that may be false, and leaves the host's reply unread. */
  async claim(identity: Partial<Identity> = {}, key: Buffer = someKey, said = { nonce: someNonce, version: 2 }): Promise<void> {
    const { nonce } = await this.challenge();
    this.socket.write(encodeAnswer(key, nonce, said.nonce, { ...someTask, ...identity }, said.version));
  }
}
