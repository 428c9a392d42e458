import { placeOf, type RunEvent } from '../model/run-event.ts';
import type { Told } from './told.ts';

/** Takes the events of a run, and tells its output. */
export class Following {
  readonly #told: Told;
  readonly #hasEnded: () => Promise<boolean>;
  #over = false;

  /** @param hasEnded asks whether the run has ended */
  constructor(told: Told, hasEnded: () => Promise<boolean>) {
    this.#told = told;
    this.#hasEnded = hasEnded;
  }

  /** Whether the run has ended. The record has what is still missing. */
  get over(): boolean {
    return this.#over;
  }

  async take(event: RunEvent): Promise<void> {
    if (this.#over) return;
    const { attempt } = placeOf(event.id);
    switch (event.type) {
      case 'stdout':
      case 'stderr':
        await this.#told.live(attempt, event.step, event.type, event.bytes);
        return;
      case 'gap':
        this.#told.gap();
        return;
      case 'void':
        // Either another attempt follows, or the same output is told again from the record; then the record itself has the rest.
        this.#over = await this.#hasEnded();
        if (!this.#over) this.#told.void(event.reason);
        return;
      case 'ended':
        this.#over = true;
        return;
      case 'attempt':
        this.#told.begin(attempt);
        return;
      case 'queued':
      case 'placed':
      case 'step':
      case 'file':
    }
  }
}
