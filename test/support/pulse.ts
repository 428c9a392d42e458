import type { Pulse } from '../../src/drivers/swarm/dial/listener.ts';

/** A pulse that a test moves on. */
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

  /** How many calls repeat. */
  get beating(): number {
    return this.#beats.length;
  }

  /** Moves on, beat by beat. */
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

  /** Moves on at once, as in a process that stood still. */
  skip(ms: number): void {
    this.#now += ms;
    for (const beat of this.#beats) {
      beat.due = this.#now + beat.ms;
      beat.call();
    }
  }
}
