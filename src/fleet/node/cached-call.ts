/** One answer for all callers that ask while it is under way, and for some time after. */
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

  /** An answer that is no older, ms; or one to a question that is asked now, whatever is under way. @throws what asking throws */
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

  /** Drops the last answer; one that is under way is not kept. */
  forget(): void {
    this.#asking = undefined;
    this.#answered = undefined;
  }
}
