import { within } from '../../base/deadline.ts';
import { ToldOnce } from '../../base/told-once.ts';
import { KatafleetError, messageOf } from '../../model/errors.ts';
import { defaults } from '../../model/defaults.ts';
import type { Driver } from '../../drivers/contract.ts';
import type { Removals } from '../node/removals.ts';
import type { Neighbours } from '../node/neighbours.ts';
import type { SandboxLedger } from '../node/sandbox-ledger.ts';
import { type Doomed, type JournalIdentity, reapPlan } from './reaper.ts';

export interface NodeReaperOptions {
  driver: Driver;
  ledger: SandboxLedger;
  removals: Removals;
  neighbours: Neighbours;
  journal?: JournalIdentity | undefined;
  /** How long a sandbox may stay past its deadline, ms. */
  graceMs?: number | undefined;
  onTrouble?: ((message: string) => void) | undefined;
}

/** How often to look for leftovers and for the sandboxes of others, ms. */
const paces = {
  usual: 10_000,
  /** While another katafleet uses the node, and a list costs little: its runs end, and ours may begin. */
  near: 2_000,
  /** While the node has no container of any katafleet, and we want none. */
  empty: 30_000,
};
/** Each pause is longer or shorter by up to this share, so that the lists of many nodes spread. */
const jitter = 0.1;
/** How long one reaping waits for its removals, ms. Those that take longer go on. */
const waitMs = 30_000;

/** Errors of a removal after which the container stays, and the node can be used all the same. */
const stays: ReadonlySet<string> = new Set(['engine.failed', 'engine.conflict', 'engine.timeout']);

/** Removes leftovers on one node: on demand, and every few seconds while the node serves. */
export class NodeReaper {
  readonly #options: NodeReaperOptions;
  readonly #endedSince = new Map<string, number>();
  /** Removals under way, by the container's id. */
  readonly #removing = new Map<string, Promise<void>>();
  readonly #troubles: ToldOnce<string>;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(options: NodeReaperOptions) {
    this.#options = options;
    this.#troubles = new ToldOnce((message) => options.onTrouble?.(message));
  }

  /**
   * Reaps again and again, because an engine may still create containers for a dead owner, removals fail, and deadlines pass.
   */
  start(): void {
    if (this.#closed || this.#timer) return;
    // The nodes of a fleet start together, so the first pause is of any length.
    this.#after(paces.usual * Math.random());
  }

  #after(ms: number): void {
    this.#timer = setTimeout(() => {
      const timer = this.#timer;
      void this.reapQuietly().then(() => {
        if (this.#timer === timer) this.#after(this.#pace() * (1 + jitter * (2 * Math.random() - 1)));
      });
    }, ms).unref();
  }

  #pace(): number {
    const { driver, ledger, neighbours } = this.#options;
    if (driver.listsFast && neighbours.others > 0) return paces.near;
    return neighbours.empty && ledger.inUse.size === 0 ? paces.empty : paces.usual;
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  /** Stops for good, even if the node comes back while it is closing. */
  close(): void {
    this.#closed = true;
    this.stop();
  }

  /**
   * Returns our leftovers on the node, each with its reason. Removes them unless it is a dry run. A container that the engine can't
   * remove stays until the next time: its memory is booked, and the node serves. @throws engine.* if the engine does not answer
   */
  async reap(dryRun = false): Promise<Doomed[]> {
    const { driver, ledger, neighbours, journal, graceMs = defaults.graceMs } = this.#options;
    const { doubtful } = ledger;
    const { clockSkewMs } = await driver.probe();
    const all = await neighbours.list();
    const view = { now: Date.now(), clockSkewMs, fleet: ledger.id, inUse: ledger.inUse, journal, endedSince: this.#endedSince, graceMs };
    const doomed = reapPlan(all, view);
    if (dryRun) return doomed;
    const left = new Set<Doomed>();
    const until = performance.now() + waitMs;
    await Promise.all(
      doomed.map(async (one) => {
        try {
          const late = () => new KatafleetError('engine.timeout', `its removal takes longer than ${waitMs / 1000} s`);
          await within(Math.max(0, until - performance.now()), () => this.#remove(one.id), { late });
          this.#troubles.recovered(one.id);
        } catch (error) {
          if (!(error instanceof KatafleetError) || !stays.has(error.code)) throw error;
          left.add(one);
          this.#troubles.tell(one.id, `the container ${one.id.slice(0, 12)} stays: ${error.message}`);
        }
      }),
    );
    for (const name of doubtful) if (!Array.from(left).some((one) => one.name === name)) ledger.gone(name);
    const removed = doomed.filter((one) => !left.has(one));
    const gone = new Set(removed.map(({ id }) => id));
    neighbours.see(all.filter(({ id }) => !gone.has(id)));
    return removed;
  }

  #remove(id: string): Promise<void> {
    const under = this.#removing.get(id);
    if (under) return under;
    const removal = this.#options.removals.do(() => this.#options.driver.remove(id), 'last');
    this.#removing.set(id, removal);
    const over = () => this.#removing.delete(id);
    removal.then(over, over);
    return removal;
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
