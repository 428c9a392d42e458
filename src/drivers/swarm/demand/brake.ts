/** A task that ends by itself so soon after it has dialled in can't work, ms. */
const earlyMs = 1_000;
/** So long after fewer were wanted the swarm still ends some, ms. */
const fewerMs = 15_000;
/** So many in a row, and the swarm is not left to make one after the other. */
const mostEarly = 10;

/** How a task's connection was over. */
interface Over {
  /** How long it was there, ms. */
  livedMs: number;
  /** Nobody had it. */
  unused: boolean;
  /** Something was said to it. */
  spokenTo: boolean;
  /** Its own side ended it. */
  ended: boolean;
}

/** Notices tasks that end as soon as they have dialled in: replaced at once, and without delay, they would be made for ever. */
export class Brake {
  #early = 0;
  #fewerAt = -Infinity;

  /** Whether no more should be made than somebody waits for. */
  get on(): boolean {
    return this.#early >= mostEarly;
  }

  /** The swarm was told of fewer, and ends some itself. */
  fewer(now: number): void {
    this.#fewerAt = now;
  }

  /** A connection is over; whether that puts it on. */
  over({ livedMs, unused, spokenTo, ended }: Over, now: number): boolean {
    if (livedMs >= earlyMs || (!unused && spokenTo)) this.#early = 0;
    else if (unused && ended && now - this.#fewerAt >= fewerMs) this.#early += 1;
    else return false;
    return this.#early === mostEarly;
  }
}
