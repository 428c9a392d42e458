import PQueue from 'p-queue';
import { within } from '../../base/deadline.ts';
import { CachedCall } from '../node/cached-call.ts';

/** A node to ask. */
export interface Searched {
  /** Reads its image list. Returns whether it answered; never rejects. */
  refreshImages(): Promise<boolean>;
}

/** How long an image that no node has is not searched again, ms. */
const missingMs = 5_000;
/** Most names that are remembered, because they come from callers. */
const mostMissing = 10_000;
/** Most image lists of nodes that are read at the same time: each is a call of its own, and its answer may be long. */
export const listings = 32;

/**
 * Searches images that are not in the books, because they may be very new. All searches at one time share one round over the nodes,
 * and a node is never asked twice at a time: otherwise callers who ask for missing names could overload the nodes.
 */
export class ImageSearch {
  readonly #nodes: () => readonly Searched[];
  readonly #known: (name: string) => boolean;
  readonly #waitMs: number;
  readonly #calls = new PQueue({ concurrency: listings });
  readonly #asking = new Map<Searched, Promise<boolean>>();
  readonly #round = new CachedCall(() => this.#ask());
  /** When an image was last found on no node, by name, oldest first. */
  readonly #missing = new Map<string, number>();
  #changes = 0;

  /**
   * `known`: whether the books show an image on a node, by its canonical name. `waitMs`: how long a search waits for slow nodes, ms;
   * their late answers serve the next search.
   */
  constructor(nodes: () => readonly Searched[], known: (name: string) => boolean, waitMs = 1_000) {
    this.#nodes = nodes;
    this.#known = known;
    this.#waitMs = waitMs;
  }

  /**
   * Resolves when the image is in the books, or when every node was asked for it within the last 5 s. A round takes 1 s at most, or
   * longer while no node has answered. If images change during the round, there is a second one.
   */
  async look(name: string): Promise<void> {
    if (this.#known(name) || performance.now() - (this.#missing.get(name) ?? -Infinity) < missingMs) return;
    for (let round = 0; round < 2; round += 1) {
      const changes = this.#changes;
      await this.#round.get(0);
      if (this.#known(name)) return;
      if (this.#changes === changes) {
        this.#misses(name);
        return;
      }
    }
  }

  #misses(name: string): void {
    this.#missing.delete(name);
    this.#missing.set(name, performance.now());
    if (this.#missing.size <= mostMissing) return;
    for (const oldest of this.#missing.keys()) {
      this.#missing.delete(oldest);
      return;
    }
  }

  /** Asks all nodes once, except those that still owe an answer to an earlier round. */
  async #ask(): Promise<void> {
    const answers = this.#nodes().map((node) => this.#askOne(node));
    const all = Promise.all(answers);
    const first = new Promise<void>((resolve) => {
      for (const answer of answers) void answer.then((answered) => answered && resolve());
    });
    await within(this.#waitMs, () => all).catch(() => Promise.race([all, first]));
  }

  #askOne(node: Searched): Promise<boolean> {
    let asking = this.#asking.get(node);
    if (!asking) {
      asking = this.#calls.add(() => node.refreshImages());
      const asked = asking;
      this.#asking.set(node, asked);
      void asked.finally(() => {
        if (this.#asking.get(node) === asked) this.#asking.delete(node);
      });
    }
    return asking;
  }

  /** Notes that a node's images have changed: earlier answers may be old, and a missing image may exist now. */
  changed(node: Searched): void {
    this.#changes += 1;
    this.#missing.clear();
    this.#asking.delete(node);
    this.#round.forget();
  }
}
