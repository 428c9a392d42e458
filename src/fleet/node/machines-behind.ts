import { ToldOnce } from '../../base/told-once.ts';
import { KatafleetError, messageOf } from '../../model/errors.ts';
import { type Capacity, capacityOf, takesTasks } from '../../drivers/machines.ts';
import type { Driver } from '../../drivers/contract.ts';
import type { Machine } from '../../model/node.ts';
import type { DriverCalls } from './driver-calls.ts';
import { machineLabels } from './facts.ts';
import { CachedCall } from './cached-call.ts';

export interface MachinesBehindOptions {
  /** The node's name. */
  name: string;
  driver: Driver;
  calls: DriverCalls;
  isReady: () => boolean;
  isClosed: () => boolean;
  /** Called with machines, by id and name, that take nothing new. */
  onAway: (machines: ReadonlySet<string>) => void;
  /**
   * Called when the list of machines has changed, or which of them take sandboxes. Returns whether the change was applied. If it was
   * not, or if the call rejects, the next look calls it again.
   */
  onChange: (machines: readonly Machine[], usable: Capacity, largestOfAll: Capacity['largest']) => Promise<boolean>;
  onTrouble?: ((message: string) => void) | undefined;
}

/** The machines behind a swarm's node; empty for any other node. */
export class MachinesBehind {
  readonly #options: MachinesBehindOptions;
  readonly #answers = new CachedCall(() => this.#ask());
  readonly #troubles = new ToldOnce<'machines'>((message) => this.#options.onTrouble?.(message));
  /** The machines at the last successful {@link MachinesBehindOptions.onChange}. */
  #seen: string | undefined;

  constructor(options: MachinesBehindOptions) {
    this.#options = options;
  }

  /** The last known machines; undefined if they are not known. */
  get known(): readonly Machine[] | undefined {
    return this.#answers.value;
  }

  /** Asks a ready node for its machines, unless the last answer is younger than this, ms. Never rejects: reports errors as troubles. */
  async look(maxAgeMs: number | 'anew'): Promise<void> {
    const { name, driver, isReady, isClosed, onAway } = this.#options;
    if (!isReady() || !driver.machines) return;
    try {
      const machines = await this.#answers.get(maxAgeMs);
      if (!isReady()) return;
      const away = machines.filter(({ availability }) => availability !== 'active').flatMap((machine) => [machine.id, machine.name]);
      if (away.length > 0) onAway(new Set(away));
      await this.#compare(machines);
      this.#troubles.recovered('machines');
    } catch (error) {
      if (!isClosed()) this.#troubles.tell('machines', `${name}: its machines could not be looked at: ${messageOf(error)}`);
    }
  }

  /** Asks for the machines now. @throws node.unknown for a node that has no machines behind it, engine.* */
  async fresh(): Promise<readonly Machine[]> {
    const { name, driver } = this.#options;
    if (!driver.machines) throw new KatafleetError('node.unknown', `${name} has no machines behind it`);
    return this.#answers.get('anew');
  }

  /** Drops the last answer. */
  forget(): void {
    this.#answers.forget();
  }

  /** Makes the next look call {@link MachinesBehindOptions.onChange}, even if nothing has changed. */
  compareAnew(): void {
    this.#seen = undefined;
  }

  async #ask(): Promise<readonly Machine[]> {
    const { driver, calls } = this.#options;
    const machines = await calls.within(calls.timeoutMs, () => driver.machines?.() ?? Promise.resolve([]));
    return machines.toSorted(byName);
  }

  async #compare(machines: readonly Machine[]): Promise<void> {
    const [usable, { largest }] = [capacityOf(machines.filter(takesTasks)), capacityOf(machines)];
    const now = JSON.stringify([usable, largest, machines.map((machine) => [takesTasks(machine), machineLabels(machine)])]);
    if (now === this.#seen) return;
    this.#seen = now;
    let takenIn = false;
    try {
      takenIn = await this.#options.onChange(machines, usable, largest);
    } finally {
      if (!takenIn) this.#seen = undefined;
    }
  }
}

const byName = (a: Machine, b: Machine): number => (a.name < b.name ? -1 : a.name > b.name ? 1 : a.id < b.id ? -1 : 1);
