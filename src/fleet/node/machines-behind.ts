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
  /** These, by id and name, take nothing new. */
  onAway: (machines: ReadonlySet<string>) => void;
  /**
   * Machines have come or gone, or take sandboxes again or no more. Whether that was taken in; if not, or if it rejects, it is
   * called again with the next look.
   */
  onChange: (machines: readonly Machine[], usable: Capacity, largestOfAll: Capacity['largest']) => Promise<boolean>;
  onTrouble?: ((message: string) => void) | undefined;
}

/** The machines behind a node: none where it is a machine itself. */
export class MachinesBehind {
  readonly #options: MachinesBehindOptions;
  readonly #answers = new CachedCall(() => this.#ask());
  readonly #troubles = new ToldOnce<'machines'>((message) => this.#options.onTrouble?.(message));
  /** What the machines were when {@link MachinesBehindOptions.onChange} last took it in. */
  #seen: string | undefined;

  constructor(options: MachinesBehindOptions) {
    this.#options = options;
  }

  /** As they were when last asked for; undefined if that is not known. */
  get known(): readonly Machine[] | undefined {
    return this.#answers.value;
  }

  /** Asks a ready node for them, unless the last answer is younger than this, ms. Never rejects: an error is told as a trouble. */
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

  /** As they are now, whatever was asked before. @throws node.unknown for a node that is one machine, engine.* */
  async fresh(): Promise<readonly Machine[]> {
    const { name, driver } = this.#options;
    if (!driver.machines) throw new KatafleetError('node.unknown', `${name} is one machine, with none behind it`);
    return this.#answers.get('anew');
  }

  /** Drops the answer. */
  forget(): void {
    this.#answers.forget();
  }

  /** The next look calls {@link MachinesBehindOptions.onChange}, whether or not they have changed. */
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
