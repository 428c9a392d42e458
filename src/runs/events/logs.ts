import type { OutputBudget } from '../room/output-budget.ts';
import { RunLog } from './run-log.ts';

/** The log of an ended run is kept for those who were reading it: for so long (ms), and of so many runs. */
const kept = { ms: 60_000, runs: 500 };
const sweepMs = 1_000;

/** A wait for a run that has no log. */
interface AbsentWait {
  /** Resolves when something happens to the run, when `ms` have passed, or when the signal aborts. */
  over(ms: number, signal?: AbortSignal): Promise<void>;
  close(): void;
}

/** The logs of the runs that have not ended, and of some that were read when they ended. */
export class Logs {
  readonly #live = new Map<string, RunLog>();
  /** Ended runs, the first to go first. */
  readonly #ended = new Map<string, { log: RunLog; until: number }>();
  /** Stand for runs that others wait for and that are not taken up yet. They have no events. */
  readonly #absent = new Map<string, { log: RunLog; users: number }>();
  readonly #budget: OutputBudget | undefined;
  #sweep: NodeJS.Timeout | undefined;

  /** @param budget memory for the windows of output. If absent, no output is kept. */
  constructor(budget?: OutputBudget) {
    this.#budget = budget;
  }

  /** How many runs have a log, or somebody who waits for one. */
  get size(): number {
    return this.#live.size + this.#ended.size + this.#absent.size;
  }

  /** How many wait for events or ends. */
  get waiters(): number {
    let sum = 0;
    for (const log of this.#live.values()) sum += log.waiters;
    for (const { log } of this.#absent.values()) sum += log.waiters;
    return sum;
  }

  /** Returns the log of a run that begins, or is taken up after `attempt` attempts. */
  open(id: string, attempt = 0): RunLog {
    const log = new RunLog(attempt, this.#budget?.window());
    this.#live.set(id, log);
    this.#absent.get(id)?.log.wakeAll(); // those who wait find the new log
    return log;
  }

  /** Returns the log of a run that has ended, if it is kept. */
  ofEnded(id: string): RunLog | undefined {
    return this.#ended.get(id)?.log;
  }

  /** Begins to wait for a run that has no log. Whatever happens from now on ends the wait. */
  wait(id: string, what: 'event' | 'end'): AbsentWait {
    const known = this.#absent.get(id);
    const absent = known ?? { log: new RunLog(), users: 0 };
    if (!known) this.#absent.set(id, absent);
    absent.users += 1;
    const { log } = absent;
    let happened = false;
    const unhear = log.hear(() => (happened = true));
    return {
      over: async (ms, signal) => {
        if (!happened) await log.next(what, ms, signal);
      },
      close: () => {
        unhear();
        absent.users -= 1;
        if (absent.users === 0 && this.#absent.get(id) === absent) this.#absent.delete(id);
      },
    };
  }

  /** Called when a run is over, or was never begun: drops its log, or keeps it for a while if somebody has read its end, or may. */
  ended(id: string): void {
    const log = this.#live.get(id);
    this.#live.delete(id);
    this.#absent.get(id)?.log.wakeAll();
    if (!log) return;
    log.wakeAll();
    if (!log.ended || !log.wasRead) {
      log.close();
      return;
    }
    this.#ended.set(id, { log, until: performance.now() + kept.ms });
    for (const first of this.#ended.keys()) {
      if (this.#ended.size <= kept.runs) break;
      this.#drop(first);
    }
    this.#look();
  }

  #look(): void {
    if (this.#ended.size === 0 || this.#sweep) return;
    this.#sweep = setTimeout(() => {
      this.#sweep = undefined;
      for (const [id, { until }] of this.#ended) {
        if (until > performance.now()) break;
        this.#drop(id);
      }
      this.#look();
    }, sweepMs).unref();
  }

  #drop(id: string): void {
    this.#ended.get(id)?.log.close();
    this.#ended.delete(id);
  }

  /** Ends all waits. */
  wakeAll(): void {
    for (const log of this.#live.values()) log.wakeAll();
    for (const { log } of this.#absent.values()) log.wakeAll();
  }
}
