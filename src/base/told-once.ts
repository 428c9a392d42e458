/** Reports the trouble of each thing once. The same words are reported again only after the thing was well or had another trouble. */
export class ToldOnce<K> {
  readonly #tell: (message: string) => void;
  readonly #last = new Map<K, string>();

  constructor(tell: (message: string) => void) {
    this.#tell = tell;
  }

  tell(of: K, message: string): void {
    if (this.#last.get(of) === message) return;
    this.#last.set(of, message);
    this.#tell(message);
  }

  /** Notes that its trouble is over: the next one is reported, even in the same words. */
  recovered(of: K): void {
    this.#last.delete(of);
  }
}
