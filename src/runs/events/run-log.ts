import type { Stream } from '../../model/output.ts';
import type { OnOutput } from '../../model/request.ts';
import { comparePlaces, eventId, type EventPlace, type RunEvent } from '../../model/run-event.ts';
import type { OutputWindow } from '../room/output-budget.ts';

type WithoutPlace<E> = E extends RunEvent ? Omit<E, 'id' | 'at'> : never;
/** An event before the log gives it its id and its time. */
export type EventBody = WithoutPlace<RunEvent>;

interface EventEntry extends EventPlace {
  at: number;
  body: EventBody;
  cost: number;
}

/** What an event costs of the window beyond its bytes. */
const entryCost = 128;

/** Keeps no output. */
const noWindow: OutputWindow = { take: () => false, give: () => undefined };

/**
 * The events of one run, as they come. The latest are kept within a window of bytes; older ones are dropped, so that a reader that comes
 * too late gets a gap. Readers never slow the run; only {@link tap} does.
 */
export class RunLog {
  #attempt = 0;
  #seq = 0;
  /** The first kept entry is at `#from`. */
  #entries: EventEntry[] = [];
  #from = 0;
  /** The last place of which nothing is kept. */
  #dropped: EventPlace;
  readonly #window: OutputWindow;
  readonly #wakes = { event: new Set<() => void>(), end: new Set<() => void>() };
  readonly #hears = new Set<() => void>();
  #ended = false;
  /** Gets all output as it comes. The run waits for its promises. */
  tap: OnOutput | undefined;
  /** Whether somebody has read, and may come back for the rest. */
  wasRead = false;

  /** @param attempt the number of the last attempt that an earlier process may have told of; its events are not kept */
  constructor(attempt = 0, window: OutputWindow = noWindow) {
    this.#attempt = attempt;
    this.#dropped = { attempt, seq: 0 };
    this.#window = window;
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** How many wait for an event or for the end. */
  get waiters(): number {
    return this.#wakes.event.size + this.#wakes.end.size;
  }

  /** Begins the events of an attempt. */
  begin(attempt: number): void {
    if (attempt <= this.#attempt) return;
    this.#attempt = attempt;
    this.#seq = 0;
  }

  add(body: EventBody, bytes = 0): void {
    if (this.#ended) return;
    this.#seq += 1;
    const entry: EventEntry = { attempt: this.#attempt, seq: this.#seq, at: Date.now(), body, cost: entryCost + bytes };
    let fits = this.#window.take(entry.cost);
    while (!fits && this.#drop()) fits = this.#window.take(entry.cost);
    if (fits) this.#entries.push(entry);
    else this.#dropped = entry;
    if (body.type === 'ended') this.#end();
    this.#wake(this.#wakes.event);
  }

  /** Adds output. The promise, if there is one, is that of the tap. */
  output(step: number, stream: Stream, bytes: Buffer): void | Promise<void> {
    this.add({ type: stream, step, bytes }, bytes.length);
    return this.tap?.(step, stream, bytes);
  }

  /** Drops the oldest entry. Returns whether there was one. */
  #drop(): boolean {
    const entry = this.#entries[this.#from];
    if (!entry) return false;
    this.#from += 1;
    this.#dropped = entry;
    this.#window.give(entry.cost);
    if (this.#from > 64 && this.#from > this.#entries.length / 2) {
      this.#entries = this.#entries.slice(this.#from);
      this.#from = 0;
    }
    return true;
  }

  #end(): void {
    this.#ended = true;
    this.#wake(this.#wakes.end);
  }

  #wake(those: Set<() => void>): void {
    if (those.size === 0) return;
    const wakes = [...those];
    those.clear();
    for (const wake of wakes) wake();
  }

  /** Calls back each time that all waits are ended. Returns how to stop that. */
  hear(listener: () => void): () => void {
    this.#hears.add(listener);
    return () => this.#hears.delete(listener);
  }

  /** Ends all waits; the log stays as it is. */
  wakeAll(): void {
    for (const hear of this.#hears) hear();
    this.#wake(this.#wakes.event);
    this.#wake(this.#wakes.end);
  }

  /** Returns the events after a place, `most` at most, the first of them a gap if some that came before are not kept. */
  after(place: EventPlace, most = Infinity): RunEvent[] {
    this.wasRead = true;
    const events: RunEvent[] = [];
    if (comparePlaces(place, this.#dropped) < 0) {
      const id = eventId(this.#dropped);
      const from = eventId({ attempt: place.attempt, seq: place.seq + 1 });
      events.push({ id, at: this.#entries[this.#from]?.at ?? Date.now(), type: 'gap', from, to: id });
    }
    for (let at = this.#firstAfter(place); at < this.#entries.length && events.length < most; at += 1) {
      const { attempt, seq, at: time, body } = this.#entries[at] as EventEntry;
      events.push({ id: eventId({ attempt, seq }), at: time, ...body });
    }
    return events;
  }

  #firstAfter(place: EventPlace): number {
    let [low, high] = [this.#from, this.#entries.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (comparePlaces(this.#entries[middle] as EventEntry, place) <= 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Resolves at the next event or at the end, when `ms` have passed, or when the signal aborts. It leaves nothing behind. */
  async next(what: 'event' | 'end', ms: number, signal?: AbortSignal): Promise<void> {
    if (ms <= 0 || signal?.aborted || this.#ended) return;
    const those = this.#wakes[what];
    let wake!: () => void;
    let timer: NodeJS.Timeout | undefined;
    try {
      await new Promise<void>((resolve) => {
        wake = resolve;
        if (Number.isFinite(ms)) timer = setTimeout(wake, ms);
        those.add(wake);
        signal?.addEventListener('abort', wake, { once: true });
      });
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener('abort', wake);
      those.delete(wake);
    }
  }

  /** Gives back the memory of what is kept. */
  close(): void {
    while (this.#drop());
    this.#entries = [];
    this.#from = 0;
  }
}
