/** Gives one answer to all callers that ask at the same time, and keeps it for a while. */
export class CachedCall<T> {
  readonly #ask: () => Promise<T>;
  #asking: Promise<T> | undefined;
  #answered: { value: T; at: number } | undefined;

  constructor(ask: () => Promise<T>) {
    this.#ask = ask;
  }

  /** The last answer. */
  get value(): T | undefined {
    return this.#answered?.value;
  }

  /** Returns an answer that is at most this old, ms, or asks anew, even if a call is under way. @throws what the call throws */
  get(maxAgeMs: number | 'anew'): Promise<T> {
    if (maxAgeMs !== 'anew') {
      if (this.#asking) return this.#asking;
      if (this.#answered && performance.now() - this.#answered.at < maxAgeMs) return Promise.resolve(this.#answered.value);
    }
    const asking = this.#ask().then((value) => {
      if (this.#asking === asking) this.#answered = { value, at: performance.now() };
      return value;
    });
    this.#asking = asking;
    const forgetAsking = () => {
      if (this.#asking === asking) this.#asking = undefined;
    };
    asking.then(forgetAsking, forgetAsking);
    return asking;
  }

  /** Drops the last answer, and does not keep the answer of a call under way. */
  forget(): void {
    this.#asking = undefined;
    this.#answered = undefined;
  }
}
