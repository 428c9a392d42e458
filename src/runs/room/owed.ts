import { KatafleetError, messageOf } from '../../model/errors.ts';

/** How often owed writes are tried again (ms). */
const againMs = 1_000;
/** SQLite's errors if the disk is full, or cannot be written at present. A faulty write gives none of these. */
const transientErrors = /^SQLITE_(FULL|IOERR|READONLY|CANTOPEN|NOMEM|BUSY)/;

/** Whether a write failed because of the journal's disk. */
export function isDisk(error: unknown): boolean {
  const { code } = (error ?? {}) as { code?: unknown };
  return typeof code === 'string' && transientErrors.test(code);
}

/**
 * Writes that the journal could not take. They are kept in their order and tried again until they succeed. No new run is begun
 * meanwhile, so only runs that are under way can owe writes.
 */
export class Owed {
  readonly #writes: { id: string; write: () => unknown }[] = [];
  readonly #waiting = new Map<string, (() => void)[]>();
  readonly #onTrouble: (message: string) => void;
  #timer: NodeJS.Timeout | undefined;
  #broken = false;
  #failureReported = false;

  constructor(onTrouble: (message: string) => void = () => undefined) {
    this.#onTrouble = onTrouble;
  }

  /** Number of owed writes. */
  get size(): number {
    return this.#writes.length;
  }

  /** Whether the journal takes writes, as far as is known. */
  get takes(): boolean {
    return !this.#broken;
  }

  /** @throws journal.full while the journal takes no writes */
  check(): void {
    if (!this.takes) throw full();
  }

  /** Does a write that must succeed now. @throws journal.full; what the write throws */
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

  /**
   * Does a write that must not be lost. Returns the journal's answer, or true if the write is owed.
   * @throws what a write throws that can never succeed
   */
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

  /** Resolves when the run owes no writes. */
  async settled(id: string): Promise<void> {
    if (!this.#writes.some((write) => write.id === id)) return;
    await new Promise<void>((resolve) => this.#waiting.set(id, [...(this.#waiting.get(id) ?? []), resolve]));
  }

  #well<T>(answer: T): T {
    if (this.#failureReported) this.#onTrouble('the journal can be written again');
    this.#failureReported = false;
    return answer;
  }

  #fails(error: unknown): void {
    if (!this.#failureReported) this.#onTrouble(`the journal can't be written, and is tried again: ${messageOf(error)}`);
    this.#failureReported = true;
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
        this.#onTrouble(`the run ${next.id}: an owed write to the journal failed: ${messageOf(error)}`);
      }
      this.#writes.shift();
      this.#release(next.id);
    }
    this.#broken = false; // the next write shows whether the journal takes it
  }

  #release(id: string): void {
    if (this.#writes.some((write) => write.id === id)) return;
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    for (const wake of waiting ?? []) wake();
  }

  /** Tries the owed writes once more. What fails again is dropped: the next katafleet runs those runs again. */
  close(): void {
    if (this.#writes.length > 0) this.#again();
    clearTimeout(this.#timer);
    if (this.#writes.length > 0)
      this.#onTrouble(`the ends of ${this.#waiting.size} runs could not be written; these runs run again after the next start`);
    this.#writes.length = 0;
    for (const id of [...this.#waiting.keys()]) this.#release(id);
  }
}

const full = (cause?: unknown) =>
  new KatafleetError('journal.full', `the journal's disk can't be written${cause === undefined ? '' : `: ${messageOf(cause)}`}`, {
    ...(cause === undefined ? {} : { cause }),
    hint: 'make room on the disk of journal.file; katafleet then goes on by itself',
    retryAfterMs: againMs,
  });
