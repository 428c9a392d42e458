import { within } from '../../base/deadline.ts';
import { KatafleetError, messageOf } from '../../model/errors.ts';
import type { RecordPlace, Stored } from '../commands.ts';
import { type Encoded, joined } from '../form/record.ts';
import { mostInRow } from '../form/result.ts';
import { fullDisk, silentWorker } from './errors.ts';
import type { SegmentWriter } from './segments.ts';

/** How long a request may take to be written (ms), and how soon a result that the disk did not take is written again. */
const [mostMs, againMs, againMostMs] = [5_000, 100, 1_000];

export interface PayloadOptions {
  /** Absent for a journal in memory: all records lie in rows then. */
  writers: { requests: SegmentWriter; results: SegmentWriter } | undefined;
  onTrouble: (message: string) => void;
  /** Called when the disk takes results again. */
  onTakes: () => void;
}

/** Puts records where they belong: small ones with their command, large ones in a segment before it. */
export class Payloads {
  readonly #options: PayloadOptions;
  readonly #underWay = new Set<Promise<unknown>>();
  /** Why results could not be written, for each that is written again. */
  readonly #owed = new Map<Encoded, string>();
  readonly #closing = new AbortController();

  constructor(options: PayloadOptions) {
    this.#options = options;
  }

  /** @throws journal.full while a result is owed */
  check(): void {
    for (const why of this.#owed.values()) throw fullDisk(why);
  }

  get takes(): boolean {
    return this.#owed.size === 0;
  }

  /** Returns a record for its row if it is small, or cannot lie elsewhere. */
  #inRow(encoded: Encoded): Stored | undefined {
    if (this.#options.writers && encoded.nearBytes + encoded.farBytes > mostInRow) return undefined;
    return { bytes: joined(encoded), near: encoded.nearBytes };
  }

  /** @throws journal.full, journal.unavailable */
  async request(encoded: Encoded): Promise<Stored> {
    const small = this.#inRow(encoded);
    const { writers } = this.#options;
    if (small || !writers) return small ?? { bytes: joined(encoded), near: encoded.nearBytes };
    const place = this.#tracked(writers.requests.append(encoded));
    try {
      return { ...(await within(mostMs, () => place, { late: silentWorker })), near: encoded.nearBytes };
    } catch (error) {
      if (error instanceof KatafleetError) throw silentWorker();
      throw fullDisk(messageOf(error), error);
    }
  }

  /** Writes until the disk takes it. @throws journal.unavailable when the store is closed before */
  async result(encoded: Encoded): Promise<Stored> {
    const small = this.#inRow(encoded);
    const { writers } = this.#options;
    if (small || !writers) return small ?? { bytes: joined(encoded), near: encoded.nearBytes };
    return { ...(await this.#tracked(this.#insist(writers.results, encoded))), near: encoded.nearBytes };
  }

  async #insist(writer: SegmentWriter, encoded: Encoded): Promise<RecordPlace> {
    for (let pause = againMs; ; pause = Math.min(againMostMs, 2 * pause)) {
      const last = this.#closing.signal.aborted;
      try {
        const place = await writer.append(encoded);
        this.#done(encoded);
        return place;
      } catch (error) {
        const why = messageOf(error);
        if (this.#owed.size === 0) this.#options.onTrouble(`a result can't be written, and is tried again: ${why}`);
        this.#owed.set(encoded, why);
        if (last) throw fullDisk(why, error);
      }
      await this.#rest(pause);
    }
  }

  #done(encoded: Encoded): void {
    if (!this.#owed.delete(encoded) || this.#owed.size > 0) return;
    this.#options.onTrouble('results can be written again');
    this.#options.onTakes();
  }

  #rest(ms: number): Promise<void> {
    const { signal } = this.#closing;
    return new Promise((resolve) => {
      const wake = () => {
        clearTimeout(timer);
        signal.removeEventListener('abort', wake);
        resolve();
      };
      const timer = setTimeout(wake, ms);
      signal.addEventListener('abort', wake);
      if (signal.aborted) wake();
    });
  }

  #tracked<T>(work: Promise<T>): Promise<T> {
    this.#underWay.add(work);
    const gone = () => this.#underWay.delete(work);
    work.then(gone, gone);
    return work;
  }

  /** Tries what is owed once more. */
  async close(): Promise<void> {
    this.#closing.abort();
    await Promise.allSettled(this.#underWay);
    await this.#options.writers?.requests.close();
    await this.#options.writers?.results.close();
  }
}
