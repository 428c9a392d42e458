/** What one user of a {@link ByteBudget} has taken. */
export interface Room {
  /** Takes so many bytes more. Where there is no room for them now: what resolves when there is, or when the room is closed. */
  take(bytes: number): Promise<void> | undefined;
  /** Whether others wait for room. */
  awaited(): boolean;
  /** Gives back all that was taken. */
  close(): void;
}

/**
 * Bytes that several may hold at once. The one that began first is never kept waiting, so that all of them end: what is held is at most
 * the budget and what that one needs.
 */
export class ByteBudget {
  readonly #most: number;
  /** Those that hold or want something, the first that began first, with what they hold. */
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

  /** Room for so many bytes at once; undefined where there is none now. */
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
