import { within } from '../../base/deadline.ts';
import { CachedCall } from '../node/cached-call.ts';

/** A node that can be asked. */
export interface Searched {
  readonly sandboxes: { imageId(name: string): string | undefined };
  /** Asks it for its images. Whether it answered; never rejects. */
  refreshImages(): Promise<boolean>;
}

/** How long an image that no node had is not searched for again, ms. */
const missingMs = 5_000;
/** Names come from callers: no more of them are remembered. */
const mostMissing = 10_000;

/**
 * Looks for images that are not in the books, for they may have been made a moment ago. All who look at one time share one
 * round over the nodes, and a node is never asked twice at a time: any caller may ask for names that do not exist.
 */
export class ImageSearch {
  readonly #nodes: () => readonly Searched[];
  readonly #waitMs: number;
  readonly #asking = new Map<Searched, Promise<boolean>>();
  readonly #round = new CachedCall(() => this.#ask());
  /** When an image was found to be nowhere, by name, the oldest first. */
  readonly #missing = new Map<string, number>();
  #changes = 0;

  /** How long a search waits for slow nodes, ms. Their late answers serve the next search. */
  constructor(nodes: () => readonly Searched[], waitMs = 1_000) {
    this.#nodes = nodes;
    this.#waitMs = waitMs;
  }

  /** Whether the books say that a node has an image, by its canonical name. */
  known(name: string): boolean {
    return this.#nodes().some(({ sandboxes }) => sandboxes.imageId(name) !== undefined);
  }

  /**
   * Resolves when the image is in the books, or every node was asked for it within the last 5 s. A round takes 1 s at most, and
   * longer only while no node at all has answered; there is a second where images change during the first.
   */
  async look(name: string): Promise<void> {
    if (this.known(name) || performance.now() - (this.#missing.get(name) ?? -Infinity) < missingMs) return;
    for (let round = 0; round < 2; round += 1) {
      const changes = this.#changes;
      await this.#round.get(0);
      if (this.known(name)) return;
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

  /** One round over all nodes; those that still owe an answer to an earlier one are not asked again. */
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
      asking = node.refreshImages();
      const asked = asking;
      this.#asking.set(node, asked);
      void asked.finally(() => {
        if (this.#asking.get(node) === asked) this.#asking.delete(node);
      });
    }
    return asking;
  }

  /** Images of a node have changed: an answer to an earlier question may be old, and what was nowhere may be there. */
  changed(node: Searched): void {
    this.#changes += 1;
    this.#missing.clear();
    this.#asking.delete(node);
    this.#round.forget();
  }
}
