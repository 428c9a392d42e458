/** What one user of a {@link ByteBudget} has taken. */
export interface Room {
  /** Takes `bytes` more. If there is no room now, returns a promise that resolves when there is, or when this is closed. */
  take(bytes: number): Promise<void> | undefined;
  /** Holds `bytes` from now on, neither more nor less, whether there is room or not: for what is in memory already. */
  hold(bytes: number): void;
  /** Whether other users wait for room. */
  awaited(): boolean;
  /** Gives back all bytes. */
  close(): void;
}

/** The memory that several budgets share: src/base/byte-pool.ts. */
export interface SharedBytes {
  /** Whether nobody holds anything. */
  readonly empty: boolean;
  left(budget: ByteBudget): number;
  leftAtOnce(budget: ByteBudget): number;
  serve(): void;
}

export interface ByteBounds {
  /** The most bytes that its users hold; a single user may hold more. */
  most: number;
  /** Bytes that no other budget of the pool can take. 0 if absent. */
  floor?: number;
  /** Bytes of memory that one of its bytes takes. 1 if absent. */
  weight?: number;
}

/**
 * Bytes that several users hold at once. The user that began first never waits, so every user ends at some time. So at most the
 * budget is held, plus what that one user needs.
 */
export class ByteBudget {
  readonly most: number;
  readonly weight: number;
  readonly #floor: number;
  readonly #pool: SharedBytes | undefined;
  /** Users that hold or want bytes, in the order in which they began, with what they hold. */
  readonly #rooms = new Map<Room, number>();
  #waiting: { room: Room; bytes: number; granted: () => void }[] = [];
  #held = 0;

  /** @param pool the memory that it shares with other budgets; use BytePool.budget */
  constructor(bounds: number | ByteBounds, pool?: SharedBytes) {
    const { most, floor = 0, weight = 1 } = typeof bounds === 'number' ? { most: bounds } : bounds;
    this.most = most;
    this.#floor = floor;
    this.weight = weight;
    this.#pool = pool;
  }

  get held(): number {
    return this.#held;
  }

  /** Bytes of memory that its users hold. */
  get memory(): number {
    return this.#held * this.weight;
  }

  /** Bytes of memory that other budgets can't take. */
  get reserved(): number {
    return this.#floor * this.weight;
  }

  /** Bytes that are free now. */
  get left(): number {
    return Math.max(0, Math.min(this.most - this.#held, this.#pool?.left(this) ?? Infinity));
  }

  /** Whether a user waits for room. */
  get awaited(): boolean {
    return this.#waiting.length > 0;
  }

  open(): Room {
    const room: Room = {
      take: (bytes) => {
        if (!this.#rooms.has(room)) this.#rooms.set(room, 0);
        if (this.#grant(room, bytes)) return undefined;
        return new Promise<void>((granted) => this.#waiting.push({ room, bytes, granted }));
      },
      hold: (bytes) => {
        const more = bytes - (this.#rooms.get(room) ?? 0);
        this.#change(room, more);
        if (more < 0) this.#freed();
      },
      awaited: () => this.#waiting.some((one) => one.room !== room),
      close: () => {
        this.#held -= this.#rooms.get(room) ?? 0;
        this.#rooms.delete(room);
        for (const { granted } of this.#waiting.filter((one) => one.room === room)) granted();
        this.#waiting = this.#waiting.filter((one) => one.room !== room);
        this.#freed();
      },
    };
    return room;
  }

  /**
   * Takes `bytes` at once; returns undefined if there is no room now. A single user may exceed the budget, but not what the pool has
   * left, unless the pool is empty.
   */
  tryOpen(bytes: number): Room | undefined {
    const own = this.#rooms.size === 0 || this.#held + bytes <= this.most;
    const shared = !this.#pool || this.#pool.empty || bytes <= this.#pool.leftAtOnce(this);
    if (!own || !shared) return undefined;
    const room = this.open();
    this.#change(room, bytes);
    return room;
  }

  /** Grants what waits and has room now. */
  serve(): void {
    this.#waiting = this.#waiting.filter(({ room, bytes, granted }) => {
      if (!this.#grant(room, bytes)) return true;
      granted();
      return false;
    });
  }

  #freed(): void {
    if (this.#pool) this.#pool.serve();
    else this.serve();
  }

  #grant(room: Room, bytes: number): boolean {
    const [first] = this.#rooms.keys();
    if (first !== room && bytes > this.left) return false;
    this.#change(room, bytes);
    return true;
  }

  #change(room: Room, bytes: number): void {
    this.#held += bytes;
    this.#rooms.set(room, (this.#rooms.get(room) ?? 0) + bytes);
  }
}
