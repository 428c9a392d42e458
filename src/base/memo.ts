/** What asking came to: one answer for all who ask, until it is forgotten. A failure is not kept: the next one asks anew. */
export class Memo<T> {
  readonly #ask: () => Promise<T>;
  #answer: Promise<T> | undefined;

  constructor(ask: () => Promise<T>) {
    this.#ask = ask;
  }

  /** The answer that is known or under way; undefined where nobody has asked. */
  get current(): Promise<T> | undefined {
    return this.#answer;
  }

  /** @throws what asking throws */
  get(): Promise<T> {
    if (this.#answer) return this.#answer;
    const answer = this.#ask();
    this.#answer = answer;
    // The caller gets the error. An answer that was forgotten meanwhile must not take a younger one with it.
    answer.catch(() => {
      if (this.#answer === answer) this.#answer = undefined;
    });
    return answer;
  }

  /** Drops the answer, one that is under way too. */
  forget(): void {
    this.#answer = undefined;
  }
}

/** The same for each key: the answers to the keys that came last are kept, `most` of them at most. */
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

  /** Drops all answers, those that are under way too. */
  clear(): void {
    this.#answers.clear();
  }
}
