import { KatafleetError, messageOf } from '../../model/errors.ts';

/** How often what is owed is written again, ms. */
const againMs = 1_000;
/** What a disk says that has no room, or can't be written for now. What a write itself is wrong in is none of these. */
const passing = /^SQLITE_(FULL|IOERR|READONLY|CANTOPEN|NOMEM|BUSY)/;

/** Whether the journal's disk is what kept a write from being done. */
export function isDisk(error: unknown): boolean {
  const { code } = (error ?? {}) as { code?: unknown };
  return typeof code === 'string' && passing.test(code);
}

/**
 * Writes that the journal would not take: kept in their order, and written again until it does. Nothing new is begun meanwhile,
 * so that no more can be owed than what was under way.
 */
export class Owed {
  readonly #writes: { id: string; write: () => unknown }[] = [];
  readonly #waiting = new Map<string, (() => void)[]>();
  readonly #onTrouble: (message: string) => void;
  #timer: NodeJS.Timeout | undefined;
  #broken = false;
  #failureTold = false;

  constructor(onTrouble: (message: string) => void = () => undefined) {
    this.#onTrouble = onTrouble;
  }

  /** How many writes are owed. */
  get size(): number {
    return this.#writes.length;
  }

  /** Whether the journal takes writes, as far as is known. */
  get takes(): boolean {
    return !this.#broken;
  }

  /** @throws journal.full while it does not */
  check(): void {
    if (!this.takes) throw full();
  }

  /** A write that must be done now or not at all. @throws journal.full; what the write throws */
  now<T>(write: () => T): T {
    this.check();
    try {
      return this.#well(write());
    } catch (error) {
      if (!isDisk(error)) throw error;
      this.#fails(error);
      throw full(error);
    }
  }

  /** A write that must be done: what the journal answers, or that it will be. @throws what a write throws that can never be done */
  write(id: string, write: () => boolean): boolean {
    if (this.#writes.length === 0) {
      try {
        return this.#well(write());
      } catch (error) {
        if (!isDisk(error)) throw error;
        this.#fails(error);
      }
    }
    this.#writes.push({ id, write });
    return true;
  }

  /** Resolves when nothing of the run is owed. */
  async settled(id: string): Promise<void> {
    if (!this.#writes.some((write) => write.id === id)) return;
    await new Promise<void>((resolve) => this.#waiting.set(id, [...(this.#waiting.get(id) ?? []), resolve]));
  }

  #well<T>(answer: T): T {
    if (this.#failureTold) this.#onTrouble('the journal can be written again');
    this.#failureTold = false;
    return answer;
  }

  #fails(error: unknown): void {
    if (!this.#failureTold) this.#onTrouble(`the journal can't be written, and is tried again: ${messageOf(error)}`);
    this.#failureTold = true;
    this.#broken = true;
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#again();
    }, againMs).unref();
  }

  #again(): void {
    for (let next = this.#writes[0]; next; next = this.#writes[0]) {
      try {
        this.#well(next.write());
      } catch (error) {
        if (isDisk(error)) {
          this.#fails(error);
          return;
        }
        this.#onTrouble(`the run ${next.id}: what the journal was owed can't be written: ${messageOf(error)}`);
      }
      this.#writes.shift();
      this.#release(next.id);
    }
    this.#broken = false; // the next write shows
  }

  #release(id: string): void {
    if (this.#writes.some((write) => write.id === id)) return;
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    for (const wake of waiting ?? []) wake();
  }

  /** The end: tries once more. What is owed still is left to the next katafleet, which makes those runs anew. */
  close(): void {
    if (this.#writes.length > 0) this.#again();
    clearTimeout(this.#timer);
    if (this.#writes.length > 0)
      this.#onTrouble(`the ends of ${this.#waiting.size} runs could not be written; they are made anew at the next start`);
    this.#writes.length = 0;
    for (const id of [...this.#waiting.keys()]) this.#release(id);
  }
}

const full = (cause?: unknown) =>
  new KatafleetError('journal.full', `the journal's disk can't be written${cause === undefined ? '' : `: ${messageOf(cause)}`}`, {
    ...(cause === undefined ? {} : { cause }),
    hint: 'make room on the disk of journal.file; katafleet goes on by itself then',
    retryAfterMs: againMs,
  });
