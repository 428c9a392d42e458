import { within } from '../../base/deadline.ts';
import { readFirstClock } from '../../base/lag-clock.ts';
import { KatafleetError } from '../../model/errors.ts';
import type { Driver, Fingerprint } from '../../drivers/contract.ts';

/** Calls of a node's driver, each with a time limit. */
export class DriverCalls {
  readonly #driver: Driver;
  /** The configuration's `health.timeout`, ms. */
  readonly timeoutMs: number;
  /** How long a probe may take, ms: a probe makes several calls. */
  readonly probeMs: number;

  constructor(driver: Driver, timeoutMs: number) {
    this.#driver = driver;
    this.timeoutMs = timeoutMs;
    this.probeMs = 2 * timeoutMs;
  }

  /** @throws engine.timeout after `ms`; what the work throws */
  within<T>(ms: number, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const bound = ms === this.timeoutMs ? ' (health.timeout)' : ms === this.probeMs ? ' (twice health.timeout)' : '';
    const late = () =>
      new KatafleetError('engine.timeout', `${this.#driver.endpoint} takes the call and does not answer within ${ms} ms${bound}`);
    return within(ms, work, { late, clock: readFirstClock });
  }

  /** @throws engine.* */
  ping(): Promise<void> {
    return this.within(this.timeoutMs, (signal) => this.#driver.ping(signal));
  }

  /** Asks the node what it is now; undefined if its driver can't. @throws engine.* */
  async identify(): Promise<Fingerprint | undefined> {
    return this.#driver.identify && this.within(this.probeMs, (signal) => this.#driver.identify?.(signal) ?? Promise.resolve(undefined));
  }

  /** @throws engine.* */
  probe(): Promise<Fingerprint> {
    return this.within(this.probeMs, () => this.#driver.probe());
  }
}
