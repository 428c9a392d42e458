import type { KeptRecord } from '../../model/record.ts';
import { EventId, firstEvent, placeOf, type RunEvent } from '../../model/run-event.ts';
import type { Logs } from './logs.ts';
import { replay } from './replay.ts';
import type { RunLog } from './run-log.ts';

export interface ReadOptions {
  /** The id of the last event that the reader has; all events if absent. */
  after?: string;
  /** How long to wait for an event, ms. */
  waitMs?: number;
  /** Most events, at least 1. */
  limit?: number;
  signal?: AbortSignal;
}

interface ReadingOptions {
  logs: Logs;
  /** @throws run.unknown */
  look: (id: string) => Promise<KeptRecord>;
  /** Whether a run has ended. @throws run.unknown */
  ended: (id: string) => Promise<boolean>;
  /** Returns the log of a run that is under way. */
  find: (id: string) => RunLog | undefined;
}

const usual = { limit: 1_000, waitMs: 30_000 };

/** Reads the events of runs, and waits for them: from the log of a run of this process, else from the record. */
export class Reading {
  readonly #options: ReadingOptions;
  #over = false;

  constructor(options: ReadingOptions) {
    this.#options = options;
  }

  /** Ends all waits, now and later: the service ends. */
  release(): void {
    this.#over = true;
    this.#options.logs.wakeAll();
  }

  /** Returns events, at least one; none when the time is over, or after the last. @throws run.unknown */
  async read(id: string, { after = firstEvent, waitMs = 0, limit = usual.limit, signal }: ReadOptions): Promise<RunEvent[]> {
    const place = placeOf(EventId.parse(after));
    const until = performance.now() + waitMs;
    const most = Math.max(1, limit);
    for (;;) {
      const log = this.#options.find(id) ?? this.#options.logs.ofEnded(id);
      if (log) {
        const events = log.after(place, most);
        if (events.length > 0 || log.ended) return events;
      }
      const left = until - performance.now();
      if (log) {
        if (!this.#waits(left, signal)) return [];
        await log.next('event', left, signal);
        continue;
      }
      // The wait begins before the record is read, so that no end is missed in between.
      const wait = this.#options.logs.wait(id, 'event');
      try {
        const record = await this.#options.look(id);
        if (record.endedAt !== undefined) return replay(record, place, most);
        if (!this.#waits(left, signal)) return [];
        await wait.over(left, signal);
      } finally {
        wait.close();
      }
    }
  }

  #waits(left: number, signal: AbortSignal | undefined): boolean {
    return left > 0 && !signal?.aborted && !this.#over;
  }

  /** All events after an id, up to the run's end. @throws run.unknown */
  async *events(id: string, after: string, signal: AbortSignal | undefined): AsyncGenerator<RunEvent, void> {
    for (let last = after; ;) {
      const events = await this.read(id, { after: last, waitMs: usual.waitMs, ...(signal ? { signal } : {}) });
      for (const event of events) {
        last = event.id;
        yield event;
        if (event.type === 'ended') return;
      }
      if (signal?.aborted || this.#over) return;
      if (events.length === 0 && this.#options.logs.ofEnded(id)?.ended) return;
    }
  }

  /**
   * Resolves when the run ends, `ms` have passed or the signal aborts. This also holds for a run that is left to the next katafleet: a
   * client that asks repeatedly must not get an answer at once each time. @throws run.unknown
   */
  async ended(id: string, ms: number, signal?: AbortSignal): Promise<void> {
    const until = performance.now() + ms;
    for (;;) {
      const left = until - performance.now();
      const log = this.#options.find(id);
      if (log) {
        if (!this.#waits(left, signal)) return;
        await log.next('end', left, signal);
        if (log.ended) return;
        continue;
      }
      const wait = this.#options.logs.wait(id, 'end');
      try {
        if ((await this.#options.ended(id)) || !this.#waits(left, signal)) return;
        await wait.over(left, signal);
      } finally {
        wait.close();
      }
    }
  }
}
