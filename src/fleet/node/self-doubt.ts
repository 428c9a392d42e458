/** Fewer silent nodes are no reason to suspect oneself. */
const leastSilent = 3;
/** How long nodes are kept although they are silent, ms. */
const graceMs = 30_000;

export interface SelfDoubtOptions {
  /** Nodes that fall silent within this time fall silent at once, ms. */
  windowMs: number;
  /** Called when a doubt begins and when it ends, with a sentence. */
  tell?: ((message: string) => void) | undefined;
}

/**
 * Decides whether silent nodes are katafleet's own fault. When half of the nodes that were ready fall silent at once, and three at
 * least, the cause is more likely this machine or its network than all of them. As long as the doubt lasts no silent node goes down, and
 * no stream is broken. It ends when fewer than half are silent, and after 30 s in any case. Times are ms on a steady clock.
 */
export class SelfDoubt {
  readonly #options: SelfDoubtOptions;
  readonly #ready = new Set<string>();
  /** Nodes that have been ready and are silent, and since when, oldest first. */
  readonly #silent = new Map<string, number>();
  /** Silent nodes of before the window, which begin no doubt. */
  readonly #earlier = new Set<string>();
  #until: number | undefined;

  constructor(options: SelfDoubtOptions) {
    this.#options = options;
  }

  /** Notes that a node is ready. */
  heard(node: string): void {
    this.#forget(node);
    this.#ready.add(node);
  }

  /** Notes that a node is not ready for a reason of its own: its engine said so, or it has been given up. */
  left(node: string): void {
    this.#forget(node);
    this.#ready.delete(node);
  }

  #forget(node: string): void {
    this.#silent.delete(node);
    this.#earlier.delete(node);
  }

  /** Notes that a node that was ready did not answer a look. Returns whether it is kept, because katafleet suspects itself. */
  silent(node: string, now: number): boolean {
    if (!this.#silent.has(node) && !this.#earlier.has(node)) {
      this.#ready.delete(node);
      this.#silent.set(node, now);
    }
    for (const [name, since] of this.#silent) {
      if (since >= now - this.#options.windowMs) break;
      this.#silent.delete(name);
      this.#earlier.add(name);
    }
    return this.#lasts(now);
  }

  #lasts(now: number): boolean {
    if (this.#until !== undefined) {
      const silent = this.#silent.size + this.#earlier.size;
      if (now < this.#until && 2 * silent >= this.#ready.size + silent) return true;
      const over = now >= this.#until ? 'they have stayed silent, and those that still are count as down' : 'most of them answer again';
      this.#options.tell?.(`katafleet no longer suspects itself: ${over}`);
      this.#until = undefined;
      for (const name of this.#silent.keys()) this.#earlier.add(name);
      this.#silent.clear();
      return false;
    }
    const [silent, all] = [this.#silent.size, this.#silent.size + this.#ready.size];
    if (silent < leastSilent || 2 * silent < all) return false;
    this.#until = now + graceMs;
    this.#options.tell?.(
      `${silent} of ${all} nodes do not answer, all at once: katafleet suspects itself or its network. ` +
        `No silent node counts as down for ${graceMs / 1000} s, and runs there go on`,
    );
    return true;
  }
}
