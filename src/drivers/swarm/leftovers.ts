import { labels } from '../../core/labels.ts';
import type { Driver } from '../contract.ts';

/** A finished container is the swarm's own to remove for so long, ms. */
const graceMs = 60_000;

/**
 * Finished task containers that engines leave behind: old ones when a job is removed, any when the swarm's history was cut short
 * by a power cut. Removed where a node's engine can be reached; how many stay is told where removing fails.
 */
export class Leftovers {
  readonly #stack: string;
  readonly #engines: readonly Driver[];
  /** When each finished container was seen first, by its id. */
  readonly #seen = new Map<string, number>();
  readonly #byNode = new Map<string, { images: number; leftOver: number }>();

  /** `engines` are those of the swarm's nodes that can be reached by themselves. */
  constructor(stack: string, engines: readonly Driver[]) {
    this.#stack = stack;
    this.#engines = engines;
  }

  /** What is known of a node by its host name. */
  of(node: string): { images?: number; leftOver?: number } {
    return this.#byNode.get(node) ?? {};
  }

  /** Removes what has been finished for a while. Nodes that do not answer keep theirs for the next time. */
  async sweep(now = performance.now()): Promise<void> {
    await Promise.all(this.#engines.map((engine) => this.#sweep(engine, now)));
  }

  async #sweep(engine: Driver, now: number): Promise<void> {
    let node: string | undefined;
    try {
      ({ node } = await engine.probe());
      const finished = (await engine.list()).filter(({ running, labels: own }) => !running && own[labels.stack] === this.#stack);
      let left = 0;
      for (const { id } of finished) {
        const since = this.#seen.get(id) ?? now;
        this.#seen.set(id, since);
        if (now - since < graceMs) continue;
        left += 1;
        await engine.remove(id);
        this.#seen.delete(id);
        left -= 1;
      }
      this.#byNode.set(node, { images: (await engine.images()).length, leftOver: left });
    } catch {
      // It is looked at again; until then what was known of it is not.
      engine.forget();
      if (node !== undefined) this.#byNode.delete(node);
    }
  }
}
