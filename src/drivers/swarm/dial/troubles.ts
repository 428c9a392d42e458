const everyMs = 1_000;

interface TroubleState {
  reportedAt: number;
  /** Troubles of this kind that were not reported since then. */
  more: number;
  last: string;
}

/** Reports troubles, each kind at most once a second, so that a peer can't fill the log. */
export class Troubles<Name extends string> {
  readonly #tell: (message: string) => void;
  readonly #kinds = new Map<Name, TroubleState>();

  constructor(tell: (message: string) => void) {
    this.#tell = tell;
  }

  /** `now` is in ms. */
  tell(name: Name, message: string, now: number): void {
    const kind = this.#kinds.get(name);
    if (kind && now - kind.reportedAt < everyMs) {
      kind.more += 1;
      kind.last = message;
      return;
    }
    this.#tell(kind && kind.more > 0 ? `${message} (and ${kind.more} more of the kind)` : message);
    this.#kinds.set(name, { reportedAt: now, more: 0, last: '' });
  }

  /** Reports what was held back for a second. */
  flush(now: number): void {
    for (const kind of this.#kinds.values()) {
      if (kind.more === 0 || now - kind.reportedAt < everyMs) continue;
      this.#tell(kind.more > 1 ? `${kind.last} (and ${kind.more - 1} more of the kind)` : kind.last);
      Object.assign(kind, { toldAt: now, more: 0, last: '' });
    }
  }
}
