/** Begins the looks at nodes whose time has come: one in each turn of the event loop, so that many of them never begin at once. */
export class LookTurns {
  readonly #due: (() => void)[] = [];

  add(look: () => void): void {
    if (this.#due.push(look) === 1) setImmediate(() => this.#next());
  }

  #next(): void {
    this.#due[0]?.();
    this.#due.shift();
    if (this.#due.length > 0) setImmediate(() => this.#next());
  }
}
