import { type Clock, steadyClock } from '../../base/clock.ts';
import { abortable } from '../../base/deadline.ts';
import { FairQueue } from '../../scheduler/queue/queue.ts';

/** The run that a sandbox is started for. */
export interface Claim {
  tenant: string;
  /** 0 to 9; higher goes first. */
  priority: number;
  /** Memory of its sandbox, bytes. */
  memory: number;
}

/** Needs no bound of its own: only runs that are placed on the node wait here, and the scheduler's queue limits those. */
const unbounded = { runs: Infinity, bytes: Infinity, perTenant: Infinity };

/**
 * A node's start slots. Runs get them in the scheduler's order (priority, then fair shares of tenants, then age), so that a burst of
 * placed runs does not delay later runs. Refills come after all runs.
 */
export class Starts {
  #concurrency: number;
  readonly #clock: Clock;
  readonly #runs = new FairQueue<() => void>(unbounded);
  readonly #refills: (() => void)[] = [];
  #busy = 0;
  #made = 0;

  constructor(concurrency: number, clock: Clock = steadyClock) {
    this.#concurrency = concurrency;
    this.#clock = clock;
  }

  /** Sets how many starts go at once. If the number falls, starts under way go on. */
  set concurrency(starts: number) {
    this.#concurrency = starts;
    this.#grant();
  }

  /**
   * Calls `start` when a slot is free, in the order of the claims. The slot is taken until the start has ended or the signal aborts. An
   * abort ends the call at once, whether it waits or starts. Without a claim it is a refill.
   * @throws what `start` throws, the signal's reason
   */
  async add<T>(start: () => Promise<T>, claim?: Claim, signal?: AbortSignal): Promise<T> {
    signal?.throwIfAborted();
    return new Promise((resolve, reject) => {
      const id = String((this.#made += 1));
      const leave = () => {
        if (this.#runs.remove(id)) reject(signal?.reason as Error);
      };
      const begin = () => {
        signal?.removeEventListener('abort', leave);
        const freeSlot = () => {
          this.#busy -= 1;
          this.#grant();
        };
        const started = abortable(signal, start());
        started.then(resolve, reject);
        started.then(freeSlot, freeSlot);
      };
      if (claim) {
        signal?.addEventListener('abort', leave, { once: true });
        const { tenant, priority, memory } = claim;
        const since = this.#clock.now();
        this.#runs.admit({ id, tenant, priority, memory, bytes: 0, shape: '', since, deadline: Infinity, value: begin });
      } else {
        this.#refills.push(begin);
      }
      this.#grant();
    });
  }

  #grant(): void {
    while (this.#busy < this.#concurrency) {
      const begin = this.#runs.next(this.#clock.now(), () => true)?.value ?? this.#refills.shift();
      if (!begin) return;
      this.#busy += 1;
      begin();
    }
  }
}
