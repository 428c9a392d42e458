import { within } from '../../base/deadline.ts';
import { type LagClock, readFirstClock } from '../../base/lag-clock.ts';
import { hour } from '../../base/units.ts';
import { KatafleetError } from '../../model/errors.ts';
import { labels } from '../../model/labels.ts';
import type { Driver, Sandbox, SandboxSpec } from '../../drivers/contract.ts';
import type { Grant } from '../pools/pool.ts';
import type { JournalIdentity } from '../upkeep/reaper.ts';
import type { Neighbours } from './neighbours.ts';
import { ownerOf } from '../../base/process-owner.ts';
import type { Removals } from './removals.ts';
import type { Books, SandboxLedger } from './sandbox-ledger.ts';
import { type StartShape, StartWatch } from './start-watch.ts';

export interface SandboxMakerOptions {
  driver: Driver;
  books: Books;
  ledger: SandboxLedger;
  removals: Removals;
  neighbours: Neighbours;
  /** Memory that an idle sandbox books, bytes. */
  idleMemory: number;
  journal?: JournalIdentity | undefined;
  /** How long a start may take, ms; unbounded if absent. */
  startMs?: number | undefined;
  lag?: Pick<LagClock, 'stalledMs'> | undefined;
  /** Called when a create has failed and may have left a container. */
  onDoubt: () => void;
  /** Called when the engine is found to answer and to start nothing, and when it starts sandboxes again. */
  onStuck?: ((error: KatafleetError) => void) | undefined;
  onFree?: (() => void) | undefined;
}

/** How long a sandbox can be needed after its creation, ms: a run of a day, and its transfers. */
const longestUseMs = 25 * hour;

/** Errors of a create that leave no container. */
const refusals: ReadonlySet<string> = new Set(['engine.failed', 'engine.disk_full', 'image.unknown', 'node.full']);

/** Errors that do not show whether the engine starts sandboxes. */
const noAnswer: ReadonlySet<string> = new Set(['engine.timeout', 'engine.unreachable', 'node.lost']);

export const nodeLost = () => new KatafleetError('node.lost', 'the node was given up');

/** Creates and removes a node's sandboxes, and keeps the ledger of them. */
export class SandboxMaker {
  readonly #options: SandboxMakerOptions;
  readonly #owner = ownerOf('self');
  /** Sandboxes from their creation until katafleet asks for their removal. */
  readonly #living = new Set<Sandbox>();
  readonly #watch: StartWatch;
  readonly #ending = new AbortController();
  #suspended = false;
  #failed = false;

  constructor(options: SandboxMakerOptions) {
    this.#options = options;
    this.#watch = new StartWatch({
      startMs: options.startMs ?? 0,
      canary: (shape) => this.#canary(shape),
      onStuck: (error) => options.onStuck?.(error),
      onFree: () => options.onFree?.(),
    });
  }

  /** Why nothing is started although the engine answers. */
  get stuck(): KatafleetError | undefined {
    return this.#watch.stuck;
  }

  /** Whether creates are suspended because the node is lost. */
  get suspended(): boolean {
    return this.#suspended;
  }

  /** Whether a create or a removal has failed: a container may be left on the node. */
  get failed(): boolean {
    return this.#failed;
  }

  /** Breaks the stream of every sandbox and creates none, until {@link resume}. */
  suspend(): void {
    this.#suspended = true;
    this.#watch.reset();
    for (const sandbox of this.#living) sandbox.stream.destroy();
  }

  resume(): void {
    this.#suspended = false;
    this.#watch.reset();
  }

  /** Tries no canary any more. */
  close(): void {
    this.#watch.reset();
    this.#ending.abort(nodeLost());
  }

  /**
   * Creates a sandbox. Without a grant it is an idle one, and its memory is booked here.
   * @throws engine.timeout if the start takes too long, or if the engine starts nothing now; node.lost, node.full, sandbox.failed, engine.*
   */
  async create(spec: StartShape, signal: AbortSignal, grant?: Grant): Promise<Sandbox> {
    if (this.#watch.stuck) throw this.#watch.stuck;
    return this.#create(spec, signal, grant);
  }

  /** Starts a sandbox only to see whether the engine can, and removes it. */
  async #canary(shape: StartShape): Promise<void> {
    await this.remove(await this.#create(shape, this.#ending.signal));
  }

  async #create(spec: StartShape, signal: AbortSignal, grant?: Grant): Promise<Sandbox> {
    const { books, idleMemory, ledger } = this.#options;
    if (this.#suspended) throw nodeLost();
    if (!grant && !(books.reserveIdle ?? books.reserve)(idleMemory))
      throw new KatafleetError('node.full', 'no memory is free for an idle sandbox');
    if (grant) grant.taken = true;
    const name = ledger.begin(grant ? grant.bytes : idleMemory);
    try {
      const wanted = { ...spec, name, labels: this.#labels(name, spec) };
      const sandbox = await this.#start(wanted, signal);
      this.#living.add(sandbox);
      if (await this.#options.neighbours.pressOut(name)) return await this.#giveWay(sandbox);
      if (this.#suspended) sandbox.stream.destroy();
      return sandbox;
    } catch (error) {
      this.#notCreated(name, error);
      throw error;
    }
  }

  /** Removes a sandbox for which another katafleet left no room. @throws node.full */
  async #giveWay(sandbox: Sandbox): Promise<never> {
    await this.remove(sandbox);
    throw new KatafleetError('node.full', 'another katafleet took the memory of the node at the same time');
  }

  /** Starts a sandbox, and notes whether the engine has answered in time. */
  async #start(wanted: SandboxSpec, signal: AbortSignal): Promise<Sandbox> {
    const { driver, startMs, lag } = this.#options;
    if (startMs === undefined || driver.machines) return driver.create(wanted, signal); // a swarm takes its time, and has a patience of its own
    const [begun, stalledMs] = [performance.now(), lag?.stalledMs ?? 0];
    const late = () => new KatafleetError('engine.timeout', `${driver.endpoint} did not start a sandbox within ${startMs / 1000} s`);
    try {
      const sandbox = await within(startMs, (abort) => driver.create(wanted, abort), { signals: [signal], late, clock: readFirstClock });
      this.#watch.answered();
      return sandbox;
    } catch (error) {
      const code = error instanceof KatafleetError ? error.code : undefined;
      // The run's own deadline may end the start a little earlier. What took place in a stall of this process says nothing.
      const tookMs = performance.now() - begun - ((lag?.stalledMs ?? 0) - stalledMs);
      if (code === 'engine.timeout' && tookMs >= startMs / 2) this.#watch.late(wanted);
      else if (code !== undefined && !signal.aborted && !noAnswer.has(code)) this.#watch.answered();
      throw error;
    }
  }

  /** Removes a sandbox. If the engine fails, the memory stays booked and the reaper tries again. @throws engine.* */
  async remove(sandbox: Sandbox): Promise<void> {
    const { ledger, removals } = this.#options;
    try {
      await removals.do(() => {
        this.#living.delete(sandbox);
        return sandbox.remove();
      });
    } catch (error) {
      this.#failed = true;
      ledger.abandon(sandbox.name);
      throw error;
    }
    ledger.gone(sandbox.name);
  }

  /** Keeps the memory booked until the reaper knows more: a failed create may have left a container, unless the engine refused it. */
  #notCreated(name: string, error: unknown): void {
    const { ledger } = this.#options;
    this.#failed = true;
    ledger.abandon(name);
    if (error instanceof KatafleetError && refusals.has(error.code)) ledger.gone(name);
    else if (!this.#suspended) this.#options.onDoubt();
  }

  #labels(name: string, { idleMs, limits }: Pick<SandboxSpec, 'idleMs' | 'limits'>): Record<string, string> {
    const { journal } = this.#options;
    const lifetime = idleMs + longestUseMs;
    return {
      [labels.role]: 'sandbox',
      [labels.sandbox]: name,
      [labels.deadline]: String(Date.now() + lifetime),
      [labels.lifetime]: String(lifetime),
      [labels.memory]: String(limits.memory),
      ...(this.#owner ? { [labels.owner]: this.#owner } : {}),
      ...(journal ? { [labels.fleet]: journal.identity, [labels.epoch]: String(journal.epoch) } : {}),
    };
  }
}
