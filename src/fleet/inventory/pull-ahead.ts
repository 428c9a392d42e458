import type { Cluster } from '../../scheduler/place/cluster.ts';
import { isNearer } from '../../scheduler/place/filters.ts';
import { nodeToCopyTo } from '../../scheduler/place/copy-target.ts';
import type { Wanted } from '../../scheduler/place/placement.ts';
import type { ImageCopies } from './images.ts';

export interface PullAheadOptions {
  cluster: Cluster;
  copies: ImageCopies;
  /** Copies an image to a node. */
  bring: (image: string, to: string) => Promise<void>;
  onTrouble: (image: string, to: string, error: unknown) => void;
  /** Ms on a steady clock. */
  now?: () => number;
}

/** How often it is looked where images are wanted, ms: each look may ask every node. */
const lookMs = 200;
/** How many waiting shapes are looked at each time. */
const mostShapes = 20;
/** How long a node gets no copy of an image after one has failed there, ms. */
const failedMs = 60_000;

/**
 * Copies images ahead of runs: to nodes that have room for runs which wait for the nodes that have their image. It begins as many copies
 * as the plan has room for, so a burst of runs brings the image to a few nodes, then to more from these.
 */
export class PullAhead {
  readonly #options: PullAheadOptions;
  readonly #failed = new Map<string, number>();
  #lookedAt = -Infinity;

  constructor(options: PullAheadOptions) {
    this.#options = options;
  }

  /** Looks at the foremost run of each shape that waits. */
  plan(waiting: Iterable<Wanted>): void {
    const { cluster, copies, now = () => performance.now() } = this.#options;
    if (!cluster.pullsAhead || copies.turns.room <= 0) return;
    const at = now();
    if (at - this.#lookedAt < lookMs) return;
    this.#lookedAt = at;
    for (const [key, since] of this.#failed) if (at - since >= failedMs) this.#failed.delete(key);
    let looked = 0;
    for (const wanted of waiting) {
      if (copies.turns.room <= 0 || (looked += 1) > mostShapes) return;
      if (cluster.withImage(wanted.image).size === 0 || !isNearer(cluster, wanted)) continue;
      while (copies.turns.room > 0 && this.#begin(wanted, at));
    }
  }

  #begin(wanted: Wanted, at: number): boolean {
    const { cluster, copies, bring, onTrouble } = this.#options;
    const { image } = wanted;
    const keyOf = (name: string) => JSON.stringify([image, name]);
    const to = nodeToCopyTo(cluster, wanted, ({ facts: { name } }) => !copies.plans(image, name) && !this.#failed.has(keyOf(name)));
    if (!to) return false;
    const { name } = to.facts;
    bring(image, name).catch((error: unknown) => {
      this.#failed.set(keyOf(name), at);
      onTrouble(image, name, error);
    });
    return true;
  }
}
