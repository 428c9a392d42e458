import { abortable } from '../../base/deadline.ts';

/** How many copies may be under way at the same time. */
export interface CopyLimits {
  /** From one node: it reads its disk and packs the layers. */
  perSource: number;
  /** In all: the bytes pass through this process. */
  fleet: number;
}

/** A copy whose turn it is. Call `done` when it has ended. */
export interface CopyTurn {
  from: string;
  done: () => void;
}

interface AwaitedTurn {
  to: string;
  sources: () => readonly string[];
  last: ReadonlySet<string>;
  begin: (turn: CopyTurn | undefined) => void;
}

/** How often waiting copies look for a source although no copy has ended, ms: a node may have become one. */
const lookMs = 500;

/**
 * Plans all copies of images between nodes: who waits longest goes first, from the least busy source. A node receives one image at a
 * time. Sources are asked for when a copy's turn comes, so a node that has received an image hands it on.
 */
export class CopyTurns {
  readonly limits: CopyLimits;
  readonly #waiting: AwaitedTurn[] = [];
  /** Number of copies by source. */
  readonly #sending = new Map<string, number>();
  readonly #receiving = new Set<string>();
  #timer: NodeJS.Timeout | undefined;

  constructor(limits: Partial<CopyLimits> = {}) {
    this.limits = { perSource: 2, fleet: 4, ...limits };
  }

  /** How many more copies may begin now, after those that wait. */
  get room(): number {
    return this.limits.fleet - this.#receiving.size - this.#waiting.length;
  }

  /**
   * Waits for a copy's turn to a node. `sources` are the nodes to copy from; those in `last` are taken if there is no other. Returns
   * undefined if there are no sources when its turn comes. @throws the signal's reason
   */
  async take(
    to: string,
    sources: () => readonly string[],
    { last = new Set<string>(), signal }: TakeOptions = {},
  ): Promise<CopyTurn | undefined> {
    signal?.throwIfAborted();
    let begin: AwaitedTurn['begin'] = () => undefined;
    const turn = new Promise<CopyTurn | undefined>((resolve) => (begin = resolve));
    const waiting: AwaitedTurn = { to, sources, last, begin };
    this.#waiting.push(waiting);
    this.#begin();
    try {
      return await abortable(signal, turn);
    } catch (error) {
      const at = this.#waiting.indexOf(waiting);
      if (at >= 0) this.#waiting.splice(at, 1);
      else void turn.then((unused) => unused?.done());
      throw error;
    }
  }

  #begin(): void {
    for (const waiting of [...this.#waiting]) {
      if (this.#receiving.size >= this.limits.fleet) break;
      if (this.#receiving.has(waiting.to)) continue;
      const sources = waiting.sources();
      const from = this.#leastBusy(sources, waiting.last);
      if (from === undefined && sources.length > 0) continue; // all are busy
      this.#waiting.splice(this.#waiting.indexOf(waiting), 1);
      waiting.begin(from === undefined ? undefined : this.#turn(from, waiting.to));
    }
    if (this.#waiting.length > 0) this.#timer ??= setInterval(() => this.#begin(), lookMs).unref();
    else {
      clearInterval(this.#timer);
      this.#timer = undefined;
    }
  }

  #leastBusy(sources: readonly string[], last: ReadonlySet<string>): string | undefined {
    const busy = (name: string) => this.#sending.get(name) ?? 0;
    const free = sources.filter((name) => busy(name) < this.limits.perSource);
    const good = free.filter((name) => !last.has(name));
    const [first, ...others] = good.length > 0 ? good : sources.every((name) => last.has(name)) ? free : [];
    return others.reduce((best, name) => (best !== undefined && busy(best) <= busy(name) ? best : name), first);
  }

  #turn(from: string, to: string): CopyTurn {
    this.#sending.set(from, (this.#sending.get(from) ?? 0) + 1);
    this.#receiving.add(to);
    let over = false;
    const done = () => {
      if (over) return;
      over = true;
      const left = (this.#sending.get(from) ?? 1) - 1;
      if (left > 0) this.#sending.set(from, left);
      else this.#sending.delete(from);
      this.#receiving.delete(to);
      this.#begin();
    };
    return { from, done };
  }
}

export interface TakeOptions {
  last?: ReadonlySet<string>;
  signal?: AbortSignal | undefined;
}
