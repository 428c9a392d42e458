import { setTimeout as sleep } from 'node:timers/promises';
import { backoffMs } from '../base/backoff.ts';
import { KatafleetError, messageOf } from '../model/errors.ts';
import type { CommitPlan } from './fast-import.ts';

/** Tries at a commit that fails, for example on a full disk. The pauses between them grow from `firstMs` to `mostMs`. */
export interface Retries {
  tries: number;
  firstMs: number;
  mostMs: number;
}

/** Tries for about five minutes. */
export const retries: Retries = { tries: 15, firstMs: 100, mostMs: 30_000 };

/** How long a test's first commit waits for the second (ms): one git process then makes both commits of a short run. */
const lingerMs = 25;

interface QueuedCommit {
  plan: CommitPlan;
  done: (oid: string) => void;
  failed: (error: unknown) => void;
}

/** Makes an avatar's commits in order, beside its tests. All waiting commits are made by one call of git. */
export class Committer {
  readonly #write: (plans: readonly CommitPlan[]) => Promise<string[]>;
  readonly #trouble: (message: string) => void;
  readonly #retries: Retries;
  #jobs: QueuedCommit[] = [];
  #working: Promise<void> | undefined;
  #hurry = new AbortController();
  readonly #stopped = new AbortController();

  constructor(write: (plans: readonly CommitPlan[]) => Promise<string[]>, trouble: (message: string) => void, how: Retries = retries) {
    this.#write = write;
    this.#trouble = trouble;
    this.#retries = how;
  }

  /** Number of commits that are not on disk yet. */
  get waiting(): number {
    return this.#jobs.length;
  }

  /** Resolves with the commit's id when it is on disk. @throws kata.storage if all tries failed */
  add(plan: CommitPlan, last: boolean): Promise<string> {
    const made = new Promise<string>((done, failed) => this.#jobs.push({ plan, done, failed }));
    if (last) this.#hurry.abort();
    this.#working ??= this.#work();
    return made;
  }

  /** Ends the tries after one last one: commits that fail then stay in the spools. */
  stop(): void {
    this.#stopped.abort();
  }

  /** Resolves when no commit is waiting. */
  async idle(): Promise<void> {
    await this.#working;
  }

  async #work(): Promise<void> {
    while (this.#jobs.length > 0) {
      await sleep(lingerMs, undefined, { signal: this.#hurry.signal }).catch(() => undefined); // aborted: the second commit has come
      this.#hurry = new AbortController();
      await this.#flush();
    }
    this.#working = undefined; // in the same turn as the last check, so that no new job is missed
  }

  async #flush(): Promise<void> {
    for (let tried = 1; ; tried += 1) {
      const batch = this.#jobs.slice();
      try {
        const oids = await this.#write(batch.map(({ plan }) => plan));
        this.#jobs.splice(0, batch.length);
        batch.forEach(({ done }, index) => done(oids[index] ?? ''));
        if (tried > 1) this.#trouble(`the commits that had to wait are made, at try ${tried}`);
        return;
      } catch (cause) {
        if (tried >= this.#retries.tries || this.#stopped.signal.aborted) {
          const error = new KatafleetError(
            'kata.storage',
            `${this.#jobs.length} commits could not be made, in ${tried} tries: ${messageOf(cause)}`,
            { cause },
          );
          this.#trouble(error.message);
          for (const { failed } of this.#jobs.splice(0)) failed(error);
          return;
        }
        const waitMs = backoffMs(tried, this.#retries);
        if (tried === 1) this.#trouble(`a commit has to wait: ${messageOf(cause)}`);
        await sleep(waitMs, undefined, { signal: this.#stopped.signal }).catch(() => undefined); // stopped: one last try
      }
    }
  }
}
