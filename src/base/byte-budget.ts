/** What one user of a {@link ByteBudget} has taken. */
export interface Room {
  /** Takes `bytes` more. If there is no room now, returns a promise that resolves when there is, or when this is closed. */
  take(bytes: number): Promise<void> | undefined;
  /** Whether other users wait for room. */
  awaited(): boolean;
  /** Gives back all bytes. */
  close(): void;
}

/**
 * Bytes that several users hold at once. The user that began first never waits, so every user ends at some time. So at most the
 * budget is held, plus what that one user needs.
 */
export class ByteBudget {
  readonly #most: number;
  /** Users that hold or want bytes, in the order in which they began, with what they hold. */
  readonly #rooms = new Map<Room, number>();
  #waiting: { room: Room; bytes: number; granted: () => void }[] = [];
  #held = 0;

  constructor(most: number) {
    this.#most = most;
  }

  get held(): number {
    return this.#held;
  }

  open(): Room {
    const room: Room = {
      take: (bytes) => {
        if (!this.#rooms.has(room)) this.#rooms.set(room, 0);
        if (this.#grant(room, bytes)) return undefined;
        return new Promise<void>((granted) => this.#waiting.push({ room, bytes, granted }));
      },
      awaited: () => this.#waiting.some((one) => one.room !== room),
      close: () => {
        this.#held -= this.#rooms.get(room) ?? 0;
        this.#rooms.delete(room);
        for (const { granted } of this.#waiting.filter((one) => one.room === room)) granted();
        this.#waiting = this.#waiting.filter((one) => one.room !== room && !this.#served(one));
      },
    };
    return room;
  }

  /** Takes `bytes` at once; returns undefined if there is no room now. */
  tryOpen(bytes: number): Room | undefined {
    const room = this.open();
    this.#rooms.set(room, 0);
    if (this.#grant(room, bytes)) return room;
    this.#rooms.delete(room);
    return undefined;
  }

  #served({ room, bytes, granted }: { room: Room; bytes: number; granted: () => void }): boolean {
    if (!this.#grant(room, bytes)) return false;
    granted();
    return true;
  }

  #grant(room: Room, bytes: number): boolean {
    const [first] = this.#rooms.keys();
    if (this.#held + bytes > this.#most && first !== room) return false;
    this.#held += bytes;
    this.#rooms.set(room, (this.#rooms.get(room) ?? 0) + bytes);
    return true;
  }
}
