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
  readonly #queue: PQueue;
  readonly #clock: Clock;

  /** `width`: how many removals the node can do at once, if it can do more than a single engine. */
  constructor(width = 0, clock: Clock = steadyClock) {
    this.#clock = clock;
    this.#queue = new PQueue({ concurrency: Math.max(atOnce, width) });
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
