import type { Clock, Timer } from '../../base/clock.ts';

/** Deadlines are kept in slots of this length and are heard at the end of their slot, ms. */
const slotMs = 50;
/** How long deadlines that pass together may be handled in one go, ms; then other work has its turn. */
const sliceMs = 5;

/** A deadline that was set. */
export interface Deadline {
  slot: number;
  readonly call: () => void;
}

/**
 * Deadlines of many runs on one timer: to set and to drop one takes the same short time however many there are, and nearly all are
 * dropped. A deadline is heard up to 50 ms late.
 */
export class Deadlines {
  readonly #clock: Clock;
  readonly #turn: () => () => boolean;
  readonly #slots = new Map<number, Set<Deadline>>();
  #size = 0;
  /** The last slot that was handled. */
  #done: number;
  #timer: Timer | undefined;
  #closed = false;

  /** @param turn called when deadlines begin to be handled in one go; what it returns says whether that was enough for one go */
  constructor(clock: Clock, turn: () => () => boolean = () => () => false) {
    this.#clock = clock;
    this.#turn = turn;
    this.#done = this.#now();
  }

  /** How many deadlines are set. */
  get size(): number {
    return this.#size;
  }

  #now(): number {
    return Math.floor(this.#clock.now() / slotMs);
  }

  /** Calls back once at a time, ms of the clock. */
  set(at: number, call: () => void): Deadline {
    const deadline: Deadline = { slot: -1, call };
    this.#add(deadline, at);
    return deadline;
  }

  /** Drops a deadline. Does nothing if it was heard or dropped. */
  drop(deadline: Deadline): void {
    const slot = this.#slots.get(deadline.slot);
    if (!slot?.delete(deadline)) return;
    this.#size -= 1;
    if (slot.size === 0) this.#slots.delete(deadline.slot);
  }

  /** Moves a deadline to another time. */
  move(deadline: Deadline, at: number): void {
    this.drop(deadline);
    this.#add(deadline, at);
  }

  #add(deadline: Deadline, at: number): void {
    if (this.#closed) return;
    if (this.#size === 0) this.#done = Math.max(this.#done, this.#now() - 1);
    deadline.slot = Math.max(Math.floor(at / slotMs), this.#done + 1);
    const slot = this.#slots.get(deadline.slot);
    if (slot) slot.add(deadline);
    else this.#slots.set(deadline.slot, new Set([deadline]));
    this.#size += 1;
    this.#timer ??= this.#clock.after(slotMs, () => this.#tick());
  }

  /** Hears the slots that are over, a slice of time at a turn. */
  #tick(): void {
    this.#timer = undefined;
    const begun = this.#clock.now();
    const last = this.#now();
    const enough = this.#turn();
    const goesOn = () => this.#clock.now() - begun < sliceMs && !enough();
    while (this.#size > 0 && this.#done + 1 < last && goesOn()) {
      const slot = this.#slots.get(this.#done + 1);
      for (const deadline of slot ?? []) {
        this.drop(deadline);
        deadline.call();
        if (!goesOn()) break;
      }
      if (!this.#slots.has(this.#done + 1)) this.#done += 1;
    }
    if (this.#size === 0 || this.#closed) return;
    this.#timer = this.#clock.after(this.#done + 1 < last ? 0 : slotMs, () => this.#tick());
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    this.#slots.clear();
    this.#size = 0;
  }
}
