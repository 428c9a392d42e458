import { within } from '../../base/deadline.ts';
import { ToldOnce } from '../../base/told-once.ts';
import { KatafleetError, messageOf } from '../../model/errors.ts';
import { defaults } from '../../model/defaults.ts';
import type { Driver } from '../../drivers/contract.ts';
import type { Removals } from '../node/removals.ts';
import type { Books, SandboxLedger } from '../node/sandbox-ledger.ts';
import { othersMemory } from './others.ts';
import { type Doomed, type JournalIdentity, reapPlan } from './reaper.ts';

export interface NodeReaperOptions {
  driver: Driver;
  ledger: SandboxLedger;
  removals: Removals;
  books: Books;
  journal?: JournalIdentity | undefined;
  /** How long a sandbox may stay past its deadline, ms. */
  graceMs?: number | undefined;
  onTrouble?: ((message: string) => void) | undefined;
}

/** How often to look for sandboxes of dead owners, ms. */
const everyMs = 10_000;
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

  /**
   * Returns our leftovers on the node, each with its reason. Removes them unless it is a dry run. A container that the engine can't
   * remove stays until the next time: its memory is booked, and the node serves. @throws engine.* if the engine does not answer
   */
  async reap(dryRun = false): Promise<Doomed[]> {
    const { driver, ledger, journal, graceMs = defaults.graceMs } = this.#options;
    const { doubtful } = ledger;
    const { clockSkewMs } = await driver.probe();
    const all = await driver.list();
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
    this.#bookOthers(all, removed);
    return removed;
  }

  /** Books the memory of sandboxes that others made, and of leftovers that stay. A swarm knows what its machines have promised. */
  #bookOthers(all: Awaited<ReturnType<Driver['list']>>, removed: readonly Doomed[]): void {
    const { driver, books, ledger } = this.#options;
    if (driver.machines || !books.setOthers) return;
    const gone = new Set(removed.map(({ id }) => id));
    books.setOthers(
      othersMemory(
        all.filter(({ id }) => !gone.has(id)),
        ledger.id,
      ),
    );
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
