import { setTimeout as sleep } from 'node:timers/promises';
import { KatafleetError } from '../../../model/errors.ts';

export interface DeparturesOptions {
  /** Returns the tasks that have ended or whose node is not ready. @throws engine.*, swarm.* */
  endedOf: (tasks: readonly string[]) => Promise<Iterable<string>>;
  /** When it is aborted, all waits end. */
  signal: AbortSignal;
  /** How often the swarm is asked while a task is waited for (ms); a second if absent. */
  everyMs?: number;
  /** How long to wait for the swarm to report a task's end (ms); two minutes if absent. */
  longestMs?: number;
}

interface Waiter {
  task: string;
  since: number;
  resolve: () => void;
  reject: (error: unknown) => void;
}

/**
 * Finds out when tasks have ended although their connection did not show it. A lost node leaves many such tasks at once, so one call asks
 * the swarm for all of them.
 */
export class Departures {
  readonly #options: Required<DeparturesOptions>;
  readonly #waiting = new Set<Waiter>();
  #watching = false;

  constructor(options: DeparturesOptions) {
    this.#options = { everyMs: 1_000, longestMs: 120_000, ...options };
  }

  /**
   * Resolves when the swarm reports that a task has ended or its node is not ready.
   * @throws engine.timeout if it reports neither in time; engine.*, swarm.*
   */
  of(task: string): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.add({ task, since: performance.now(), resolve, reject });
      if (!this.#watching) void this.#watch();
    });
  }

  async #watch(): Promise<void> {
    const { signal, everyMs } = this.#options;
    this.#watching = true;
    while (this.#waiting.size > 0 && !signal.aborted) {
      await this.#look();
      if (this.#waiting.size > 0) await sleep(everyMs);
    }
    for (const waiter of this.#waiting) this.#tell(waiter);
    this.#watching = false;
  }

  async #look(): Promise<void> {
    const { endedOf: over, longestMs } = this.#options;
    const asked = [...this.#waiting];
    let failure: unknown;
    try {
      const ended = new Set(await over(Array.from(new Set(asked.map(({ task }) => task)))));
      for (const waiter of asked) if (ended.has(waiter.task)) this.#tell(waiter);
    } catch (error) {
      failure = error;
    }
    for (const waiter of this.#waiting) {
      if (performance.now() - waiter.since < longestMs) continue;
      const late = new KatafleetError('engine.timeout', `the swarm does not say that the task ${waiter.task} has ended`);
      this.#waiting.delete(waiter);
      waiter.reject(failure ?? late);
    }
  }

  #tell(waiter: Waiter): void {
    this.#waiting.delete(waiter);
    waiter.resolve();
  }
}
