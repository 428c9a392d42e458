import PQueue from 'p-queue';
import { type Clock, steadyClock } from '../../base/clock.ts';
import { doneOrLate } from '../pools/ready-sandbox.ts';

/** How many removals an engine does at once: more only slow each other down, and everything else on the node. */
const atOnce = 8;
/** A removal that hangs gives its place to the next after this time, ms. */
const turnMs = 20_000;

/**
 * All removals of containers on one node: of ended runs, idle sandboxes, pools that shrink, and leftovers. A few go at once; those of
 * ended runs go first.
 */
export class Removals {
  readonly #queue = new PQueue({ concurrency: atOnce });
  readonly #clock: Clock;

  constructor(clock: Clock = steadyClock) {
    this.#clock = clock;
  }

  /** Sets how many removals the node can do at once, if it can do more than a single engine: a swarm removes on all its machines. */
  widen(width = 0): void {
    this.#queue.concurrency = Math.max(atOnce, width);
  }

  /** Removes a container when it is its turn. @throws what `remove` throws */
  async do(remove: () => Promise<void>, order: 'first' | 'last' = 'first'): Promise<void> {
    const begun = await this.#queue.add(
      async () => {
        const work = remove();
        await doneOrLate(work, turnMs, this.#clock);
        return { work };
      },
      { priority: order === 'first' ? 1 : 0 },
    );
    await begun.work;
  }
}
