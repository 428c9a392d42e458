import { ToldOnce } from '../../../base/told-once.ts';
import { messageOf } from '../../../model/errors.ts';
import { labels } from '../../../model/labels.ts';
import type { Driver } from '../../contract.ts';

/** How long the swarm itself has to remove a finished container (ms). */
const graceMs = 60_000;

/**
 * Removes finished task containers that the swarm leaves on its nodes: old ones of a removed job, and any after a power cut lost the
 * swarm's history. Works on nodes whose engines can be reached, and reports how many containers it failed to remove.
 */
export class Leftovers {
  readonly #stack: string;
  readonly #engines: readonly Driver[];
  /** When each finished container of an engine was first seen. */
  readonly #seen = new Map<Driver, ReadonlyMap<string, number>>();
  readonly #byNode = new Map<string, { images: number; leftOver: number }>();
  readonly #reported: ToldOnce<Driver>;

  /** @param engines those of the swarm's nodes that can be reached directly */
  constructor(stack: string, engines: readonly Driver[], onTrouble: (message: string) => void) {
    this.#stack = stack;
    this.#engines = engines;
    this.#reported = new ToldOnce(onTrouble);
  }

  /** Returns the counts of a node by its host name; empty if they are unknown. */
  of(node: string): { images?: number; leftOver?: number } {
    return this.#byNode.get(node) ?? {};
  }

  /** Removes containers that have been finished for a while. Nodes that do not answer are tried again the next time. */
  async sweep(now = performance.now()): Promise<void> {
    await Promise.all(this.#engines.map((engine) => this.#sweep(engine, now)));
  }

  async #sweep(engine: Driver, now: number): Promise<void> {
    let node: string | undefined;
    try {
      ({ node } = await engine.probe());
      const finished = (await engine.list()).filter(({ running, labels: own }) => !running && own[labels.stack] === this.#stack);
      const before = this.#seen.get(engine);
      const seen = new Map(finished.map(({ id }) => [id, before?.get(id) ?? now]));
      this.#seen.set(engine, seen);
      const due = finished.filter(({ id }) => now - (seen.get(id) ?? now) >= graceMs);
      const removals = await Promise.allSettled(due.map(({ id }) => engine.remove(id)));
      const failed = removals.filter((one) => one.status === 'rejected');
      this.#byNode.set(node, { images: (await engine.images()).length, leftOver: failed.length });
      const [first] = failed;
      if (first) this.#reported.tell(engine, `${failed.length} finished containers stay at ${engine.endpoint}: ${messageOf(first.reason)}`);
      else this.#reported.recovered(engine);
    } catch (error) {
      // The next sweep tries again. Until then the node's counts are unknown.
      engine.forget();
      if (node !== undefined) this.#byNode.delete(node);
      this.#reported.tell(engine, `can't look for finished containers at ${engine.endpoint}: ${messageOf(error)}`);
    }
  }
}
