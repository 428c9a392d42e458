import type { NodeSettings } from './node/settings.ts';

export interface LeaversOptions {
  /** Whether nothing runs on the node any more. */
  isQuiet: (name: string) => boolean;
  /** Takes the node out of the fleet. */
  end: (name: string) => Promise<void>;
  /** Puts a node in that node's place. */
  follow: (settings: NodeSettings) => void;
}

/** How often it is looked whether a node's runs have ended, ms. */
const lookMs = 250;

/** Nodes that leave the fleet as soon as their runs have ended, and what comes in their place. */
export class Leavers {
  readonly #options: LeaversOptions;
  /** By name; undefined if nothing follows. */
  readonly #leaving = new Map<string, NodeSettings | undefined>();
  readonly #ending = new Map<string, Promise<void>>();
  #timer: NodeJS.Timeout | undefined;

  constructor(options: LeaversOptions) {
    this.#options = options;
  }

  has(name: string): boolean {
    return this.#leaving.has(name);
  }

  /** Lets a node leave. `next` has its name and follows it. The last call for a node counts. */
  add(name: string, next?: NodeSettings): void {
    this.#leaving.set(name, next);
    this.#timer ??= setInterval(() => this.#look(), lookMs).unref();
    this.#look();
  }

  #look(): void {
    for (const name of this.#leaving.keys()) {
      if (this.#ending.has(name) || !this.#options.isQuiet(name)) continue;
      const ended = this.#options.end(name).finally(() => {
        this.#ending.delete(name);
        const next = this.#leaving.get(name);
        this.#leaving.delete(name);
        if (next && this.#timer) this.#options.follow(next);
      });
      this.#ending.set(name, ended);
    }
    if (this.#leaving.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /** Lets no more nodes leave. Resolves when those that are ending have ended. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    this.#timer = undefined;
    await Promise.allSettled(this.#ending.values());
  }
}
