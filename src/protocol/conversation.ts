import { once } from 'node:events';
import type { Duplex } from 'node:stream';
import { KiB } from '../base/units.ts';
import { KatafleetError, messageOf } from '../model/errors.ts';
import { FrameReader, ProtocolBreak } from './frames.ts';
import { decodeReply, type Reply } from './replies.ts';
import { protocolVersion } from './requests.ts';

/** Size of a batch of small frames, bytes. */
const batchBytes = 64 * KiB;
const gaveUp = 'the supervisor stopped while katafleet wrote to it';

/** The stream ended or broke during a conversation. The attempt is lost; another sandbox may succeed. */
export class ConversationLost extends KatafleetError {
  constructor(message: string, cause?: unknown) {
    super('sandbox.failed', message, cause === undefined ? {} : { cause });
  }
}

/**
 * The host's side of a conversation with a supervisor, over any Duplex. It reads from the stream only when a reply is asked for, so
 * that a slow reader slows the supervisor. Writing waits for the stream to drain.
 */
export class Conversation {
  readonly #stream: Duplex;
  readonly #reader = new FrameReader();
  #pending: Iterator<{ type: number; payload: Buffer }> | undefined;
  #failure: Error | undefined;
  #ended = false;
  #wake: (() => void) | undefined;
  readonly #queued: Uint8Array[] = [];
  #queuedBytes = 0;
  #abilities = 0;

  constructor(stream: Duplex) {
    this.#stream = stream;
    stream.on('readable', () => this.#stir());
    stream.once('end', () => this.#finish());
    stream.once('close', () => this.#finish());
    stream.on('error', (error: Error) => {
      this.#failure ??= error;
      this.#finish();
    });
  }

  #stir(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }

  #finish(): void {
    this.#ended = true;
    this.#stir();
  }

  /**
   * Returns the next reply. Only one call may wait at a time. @throws ConversationLost when the stream has ended, protocol.broken when
   * the supervisor broke a rule (then the stream is destroyed).
   */
  async next(): Promise<Reply> {
    for (;;) {
      try {
        const frame = this.#pending?.next();
        if (frame !== undefined && frame.done !== true) return decodeReply(frame.value);
      } catch (error) {
        throw this.#broken(error);
      }
      this.#pending = undefined;
      const chunk = this.#stream.read() as Buffer | null;
      if (chunk !== null) {
        this.#pending = this.#reader.read(chunk);
        continue;
      }
      if (this.#ended)
        throw new ConversationLost(`the sandbox's stream ended${this.#failure ? `: ${this.#failure.message}` : ''}`, this.#failure);
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  #broken(error: unknown): Error {
    this.#stream.destroy();
    if (!(error instanceof ProtocolBreak)) return error instanceof Error ? error : new Error(messageOf(error));
    return new KatafleetError('protocol.broken', `the supervisor broke the protocol: it sent ${error.message}`, { cause: error });
  }

  /** Destroys the stream because the supervisor broke a rule; returns the error. */
  break(what: string): Error {
    return this.#broken(new ProtocolBreak(what));
  }

  /** Waits for HELLO and checks its version. @throws protocol.broken, sandbox.failed when the supervisor can't work there */
  async hello(): Promise<Extract<Reply, { kind: 'hello' }>> {
    const reply = await this.next();
    if (reply.kind === 'fail') {
      this.#stream.destroy();
      const about = reply.path === '' ? '' : ` (${reply.path})`;
      throw new KatafleetError('sandbox.failed', `the supervisor can't work here: ${reply.message}${about}, errno ${reply.errno}`);
    }
    if (reply.kind !== 'hello') throw this.break(`"${reply.kind}" before its greeting`);
    if (reply.lowest > protocolVersion || reply.highest < protocolVersion) {
      this.#stream.destroy();
      throw new KatafleetError(
        'protocol.broken',
        `the supervisor ${reply.version} speaks versions ${reply.lowest} to ${reply.highest} of the protocol; katafleet speaks ${protocolVersion}`,
        { hint: 'rebuild the image: katafleet images build' },
      );
    }
    this.#abilities = reply.abilities;
    return reply;
  }

  /** Whether the supervisor's HELLO has this bit of {@link ability}. */
  can(bit: number): boolean {
    return (this.#abilities & bit) !== 0;
  }

  /** Writes the queued frames and these bytes; resolves when the stream takes more. @throws ConversationLost */
  async send(...bytes: Uint8Array[]): Promise<void> {
    await this.#write(bytes, ['drain', 'close']);
  }

  /**
   * Gathers small frames into batches and sends full batches. Call {@link send} at the end. Use it only while the supervisor must not
   * send: if it sends, it has failed, and {@link next} returns why. @throws ConversationLost
   */
  async queue(bytes: Uint8Array): Promise<void> {
    this.#queued.push(bytes);
    this.#queuedBytes += bytes.length;
    if (this.#queuedBytes >= batchBytes) await this.#write([], ['drain', 'close', 'readable']);
  }

  async #write(bytes: readonly Uint8Array[], until: readonly string[]): Promise<void> {
    const all = this.#queued.splice(0).concat(bytes);
    this.#queuedBytes = 0;
    const stream = this.#stream;
    if (stream.writableEnded || stream.destroyed) throw new ConversationLost('the sandbox’s stream is closed', this.#failure);
    if (stream.write(all.length === 1 ? all[0] : Buffer.concat(all))) return;
    if (until.includes('readable') && (stream.readableLength > 0 || this.#ended)) throw new ConversationLost(gaveUp);
    const stop = new AbortController();
    try {
      await Promise.race(until.map((event) => once(stream, event, { signal: stop.signal })));
    } catch (error) {
      throw new ConversationLost(`the sandbox’s stream broke during a write: ${messageOf(error)}`, error);
    } finally {
      stop.abort();
    }
    if (stream.destroyed) throw new ConversationLost('the sandbox’s stream closed during a write', this.#failure);
    if (until.includes('readable') && stream.readableLength > 0) throw new ConversationLost(gaveUp);
  }
}
