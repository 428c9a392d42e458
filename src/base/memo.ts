/** Asks once and gives every caller the same answer, until it is forgotten. A failure is not kept: the next caller asks again. */
export class Memo<T> {
  readonly #ask: () => Promise<T>;
  #answer: Promise<T> | undefined;

  constructor(ask: () => Promise<T>) {
    this.#ask = ask;
  }

  /** The answer, or the one that is under way; undefined if it was not asked for. */
  get current(): Promise<T> | undefined {
    return this.#answer;
  }

  /** @throws what asking throws */
  get(): Promise<T> {
    if (this.#answer) return this.#answer;
    const answer = this.#ask();
    this.#answer = answer;
    // The caller gets the error. If the answer was forgotten meanwhile, a newer one must stay.
    answer.catch(() => {
      if (this.#answer === answer) this.#answer = undefined;
    });
    return answer;
  }

  /** Drops the answer, also one that is under way. */
  forget(): void {
    this.#answer = undefined;
  }
}

/** A {@link Memo} for each key. Keeps at most `most` answers: a new one takes the place of the oldest. */
export class MemoMap<K, T> {
  readonly #most: number;
  readonly #answers = new Map<K, Promise<T>>();

  constructor(most = Infinity) {
    this.#most = most;
  }

  /** @throws what asking throws */
  get(key: K, ask: () => Promise<T>): Promise<T> {
    const known = this.#answers.get(key);
    if (known) return known;
    const answer = ask();
    this.#answers.set(key, answer);
    answer.catch(() => {
      if (this.#answers.get(key) === answer) this.#answers.delete(key);
    });
    const [oldest] = this.#answers.keys();
    if (this.#answers.size > this.#most && oldest !== undefined) this.#answers.delete(oldest);
    return answer;
  }

  /** Drops all answers, also those that are under way. */
  clear(): void {
    this.#answers.clear();
  }
}
