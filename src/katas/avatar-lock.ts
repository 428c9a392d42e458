import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { KatafleetError, messageOf } from '../model/errors.ts';
import { Lock } from './lock.ts';

/** The lock on an avatar's folder. It is taken once for all callers in this process that need it at the same time. */
export class AvatarLock {
  readonly #folder: string;
  #lock: Lock | undefined;
  #taking: Promise<void> | undefined;

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** Whether this process has the lock. */
  get held(): boolean {
    return this.#lock !== undefined;
  }

  /** Takes the lock. @param waitMs how long another process may keep it (ms) @throws kata.busy, kata.storage */
  async take(waitMs: number, signal?: AbortSignal): Promise<void> {
    if (this.#lock) return;
    this.#taking ??= this.#acquire(waitMs, signal).finally(() => (this.#taking = undefined));
    await this.#taking;
  }

  async #acquire(waitMs: number, signal?: AbortSignal): Promise<void> {
    try {
      mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
    } catch (cause) {
      throw new KatafleetError('kata.storage', `the folder ${this.#folder} can't be made: ${messageOf(cause)}`, { cause });
    }
    this.#lock = await Lock.acquire(join(this.#folder, 'lock'), waitMs, signal);
  }

  release(): void {
    this.#lock?.release();
    this.#lock = undefined;
  }
}
