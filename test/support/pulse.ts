import type { Pulse } from '../../src/drivers/swarm/dial/listener.ts';

/** Time that passes when the test says so. */
export class ManualPulse implements Pulse {
  #now = 0;
  #beats: { ms: number; due: number; call: () => void }[] = [];

  readonly now = (): number => this.#now;

  readonly every = (ms: number, call: () => void): (() => void) => {
    const beat = { ms, due: this.#now + ms, call };
    this.#beats.push(beat);
    return () => {
      this.#beats = this.#beats.filter((other) => other !== beat);
    };
  };

  /** How many are called back. */
  get beating(): number {
    return this.#beats.length;
  }

  /** Lets time pass, beat by beat. */
  pass(ms: number): void {
    const until = this.#now + ms;
    for (;;) {
      const [next] = this.#beats.toSorted((a, b) => a.due - b.due);
      if (!next || next.due > until) break;
      this.#now = next.due;
      next.due += next.ms;
      next.call();
    }
    this.#now = until;
  }

  /** Lets it pass at one go: the process was held up. */
  skip(ms: number): void {
    this.#now += ms;
    for (const beat of this.#beats) {
      beat.due = this.#now + beat.ms;
      beat.call();
    }
  }
}
