import { ToldOnce } from '../../base/told-once.ts';
import { messageOf } from '../../model/errors.ts';
import type { Fingerprint } from '../../drivers/contract.ts';
import { formatBytes } from '../../model/quantity.ts';

/** What tells a machine, or a swarm, from another that answers at the same endpoint, and what a probe must find anew if it changes. */
const traits = ({ engineId, node, architecture, cpus, memory, kernel, engineVersion, largest }: Fingerprint, withId: boolean): string =>
  // The managers of a swarm answer in turn, and its machines come and go: only its own id tells it from another.
  JSON.stringify([withId ? engineId : undefined, ...(largest ? [] : [node, architecture, cpus, memory, kernel, engineVersion])]);

/** How a machine has changed: `replaced` by another one, with none of its containers; or the same one, with another size or engine. */
export type MachineChange = 'replaced' | 'changed';

/** How often to ask which machine answers, ms. */
const everyMs = 60_000;

/** Remembers which machine answers at a node's endpoint, and asks for it: once a minute, and after each failed look. */
export class MachineIdentity {
  readonly #identify: () => Promise<Fingerprint | undefined>;
  readonly #troubles: ToldOnce<'identity'>;
  #known: Fingerprint | undefined;
  /** When to ask again, ms on the steady clock. */
  #next = 0;
  /** Some engines, Podman's among them, say another id each time. */
  #stableId = true;

  constructor(identify: () => Promise<Fingerprint | undefined>, tell: (message: string) => void) {
    this.#identify = identify;
    this.#troubles = new ToldOnce(tell);
  }

  /** Notes what a probe has found. Returns whether it is another machine than the last one. */
  learn(found: Fingerprint): boolean {
    const was = this.#known;
    this.#known = found;
    this.#next = performance.now() + everyMs;
    return was !== undefined && this.#stableId && was.engineId !== found.engineId;
  }

  /** Makes the next {@link ask} ask, because a look has failed. */
  doubt(): void {
    this.#next = 0;
  }

  /** Asks, when it is time, whether the same machine still answers. Never rejects: reports a failure, and asks again at the next look. */
  async ask(): Promise<{ how: MachineChange; found: Fingerprint } | undefined> {
    const now = performance.now();
    if (now < this.#next) return undefined;
    try {
      const found = await this.#identify();
      this.#next = now + everyMs;
      const how = found && (await this.#compare(found));
      this.#troubles.recovered('identity');
      return how && { how, found };
    } catch (error) {
      // The ping decides over the node's health: an engine under load may take long for this.
      this.#troubles.tell('identity', `it could not be asked which machine it is: ${messageOf(error)}`);
      return undefined;
    }
  }

  async #compare(found: Fingerprint): Promise<MachineChange | undefined> {
    const known = this.#known;
    if (!known) return undefined;
    const differs = () => traits(known, this.#stableId) !== traits(found, this.#stableId);
    if (!differs()) return undefined;
    if (this.#stableId && known.engineId !== found.engineId) this.#stableId = (await this.#identify())?.engineId === found.engineId;
    if (!differs()) return undefined;
    return this.#stableId && known.engineId !== found.engineId ? 'replaced' : 'changed';
  }
}

/** A machine in a few words. */
export const machineInWords = ({ node, engineId, engineVersion, cpus, memory, kernel }: Fingerprint): string =>
  `${node}, ${cpus} CPUs, ${formatBytes(memory)}, kernel ${kernel}, Docker ${engineVersion}${engineId ? `, id ${engineId.slice(0, 14)}` : ''}`;
