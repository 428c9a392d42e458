import { messageOf } from '../../model/errors.ts';
import { defaults } from '../../model/defaults.ts';
import type { Driver } from '../../drivers/contract.ts';
import type { SandboxLedger } from '../node/sandbox-ledger.ts';
import { type Doomed, type JournalIdentity, reap, reapPlan } from './reaper.ts';

export interface NodeReaperOptions {
  driver: Driver;
  ledger: SandboxLedger;
  journal?: JournalIdentity | undefined;
  /** How long a sandbox may stay past its deadline, ms. */
  graceMs?: number | undefined;
  onTrouble?: ((message: string) => void) | undefined;
}

/** How often to look for sandboxes of dead owners, ms. */
const everyMs = 10_000;

/** Removes leftovers on one node: on demand, and every few seconds while the node serves. */
export class NodeReaper {
  readonly #options: NodeReaperOptions;
  readonly #endedSince = new Map<string, number>();
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(options: NodeReaperOptions) {
    this.#options = options;
  }

  /**
   * Reaps again and again, because an engine may still create containers for a dead owner, removals fail, and deadlines pass.
   */
  start(): void {
    if (!this.#closed) this.#timer ??= setInterval(() => void this.reapQuietly(), everyMs).unref();
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /** Stops for good, even if the node comes back while it is closing. */
  close(): void {
    this.#closed = true;
    this.stop();
  }

  /** Returns our leftovers on the node, each with its reason. Removes them unless it is a dry run. @throws engine.* */
  async reap(dryRun = false): Promise<Doomed[]> {
    const { driver, ledger, journal, graceMs = defaults.graceMs, onTrouble } = this.#options;
    const { doubtful } = ledger;
    const view = { now: Date.now(), fleet: ledger.id, inUse: ledger.inUse, journal, endedSince: this.#endedSince, graceMs };
    if (dryRun) return reapPlan(driver, view);
    const { removed, left } = await reap(driver, view);
    for (const { id, error } of left) onTrouble?.(`the container ${id.slice(0, 12)} stays: ${error.message}`);
    for (const name of doubtful) if (!left.some((one) => one.name === name)) ledger.gone(name);
    return removed;
  }

  /** As `reap`, but never rejects: reports an error as a trouble. */
  async reapQuietly(): Promise<void> {
    try {
      await this.reap();
    } catch (error) {
      this.#options.onTrouble?.(`left-over sandboxes could not be removed: ${messageOf(error)}`);
    }
  }
}
