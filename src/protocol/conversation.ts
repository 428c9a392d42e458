import { once } from 'node:events';
import type { Duplex } from 'node:stream';
import { KiB } from '../base/units.ts';
import { KatafleetError, messageOf } from '../model/errors.ts';
import { FrameReader, ProtocolBreak } from './frames.ts';
import { decodeReply, type Reply } from './replies.ts';
import { protocolVersion } from './requests.ts';

/** Small frames are gathered up to this many bytes. */
const batchBytes = 64 * KiB;
const gaveUp = 'the supervisor gave up while it was written to';

/** The stream ended or broke under a conversation. What it was in the middle of is lost; another sandbox may do better. */
export class ConversationLost extends KatafleetError {
  constructor(message: string, cause?: unknown) {
    super('sandbox.failed', message, cause === undefined ? {} : { cause });
  }
}

/**
 * The host's side of a conversation with a supervisor, over any Duplex. Reading is pulled: nothing is read from the
 * stream while nobody asks for a reply, so a slow reader slows the supervisor. Writing waits for the stream to drain.
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
   * The next reply. One call at a time. @throws ConversationLost when the stream is over, protocol.broken when the
   * supervisor broke a rule (the stream is destroyed then).
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

  /** Ends the conversation because of what was said in it. */
  break(what: string): Error {
    return this.#broken(new ProtocolBreak(what));
  }

  /** Waits for HELLO and checks that the versions meet. @throws protocol.broken, sandbox.failed when it can't work there */
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
        `the supervisor ${reply.version} speaks the protocol's versions ${reply.lowest} to ${reply.highest}, katafleet speaks ${protocolVersion}`,
        { hint: 'rebuild the image: katafleet images build' },
      );
    }
    this.#abilities = reply.abilities;
    return reply;
  }

  /** Whether the supervisor greeted with a bit of {@link ability}. */
  can(bit: number): boolean {
    return (this.#abilities & bit) !== 0;
  }

  /** Hands bytes to the stream, after what {@link queue} gathered; resolves when it takes more. @throws ConversationLost */
  async send(...bytes: Uint8Array[]): Promise<void> {
    await this.#write(bytes, ['drain', 'close']);
  }

  /**
   * Gathers small frames, so that many of them travel in one write; full batches are sent. For what is said while the
   * supervisor has nothing to say: should it speak all the same, it gave up, and {@link next} tells why. Ends with
   * {@link send}. @throws ConversationLost
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
      throw new ConversationLost(`the sandbox’s stream broke while it was written to: ${messageOf(error)}`, error);
    } finally {
      stop.abort();
    }
    if (stream.destroyed) throw new ConversationLost('the sandbox’s stream closed while it was written to', this.#failure);
    if (until.includes('readable') && stream.readableLength > 0) throw new ConversationLost(gaveUp);
  }
}
