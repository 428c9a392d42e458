/** A connection that has not authenticated yet. */
interface PendingConnection {
  readonly remote: string;
  /** ms */
  readonly since: number;
}

/**
 * The connections that have not authenticated yet, up to a number. When another comes, the oldest connection of the address with
 * the most connections is evicted: a flood from one address does not shut out others.
 */
export class Strangers<T extends PendingConnection> {
  readonly #most: number;
  readonly #all = new Set<T>();
  readonly #byRemote = new Map<string, Set<T>>();

  constructor(most: number) {
    this.#most = most;
  }

  get size(): number {
    return this.#all.size;
  }

  /** Adds a connection. Returns the one that is evicted for it, if any. */
  add(stranger: T): T | undefined {
    this.#all.add(stranger);
    const neighbours = this.#byRemote.get(stranger.remote);
    if (neighbours) neighbours.add(stranger);
    else this.#byRemote.set(stranger.remote, new Set([stranger]));
    if (this.#all.size <= this.#most) return undefined;
    let crowd = new Set<T>();
    for (const others of this.#byRemote.values()) if (others.size > crowd.size) crowd = others;
    const [oldest] = crowd;
    if (oldest) this.delete(oldest);
    return oldest;
  }

  delete(stranger: T): boolean {
    const neighbours = this.#byRemote.get(stranger.remote);
    neighbours?.delete(stranger);
    if (neighbours?.size === 0) this.#byRemote.delete(stranger.remote);
    return this.#all.delete(stranger);
  }

  /** Removes and returns the connections that came before a time. */
  takeOlder(than: number): T[] {
    const old: T[] = [];
    for (const stranger of this.#all) {
      if (stranger.since > than) break; // connections are in the order in which they came
      old.push(stranger);
    }
    for (const stranger of old) this.delete(stranger);
    return old;
  }
}
