import type { Driver } from '../contract.ts';
import type { Listener } from './dial/listener.ts';
import type { ManagerEngine } from './nodes/managers.ts';
import type { SwarmKeys } from './services/keys.ts';
import type { TaskNetwork } from './services/service.ts';

export interface SwarmDriverOptions {
  /** Managers of one swarm; the first is asked first. */
  managers: readonly [ManagerEngine, ...ManagerEngine[]];
  listener: Listener;
  keys: SwarmKeys;
  stack: string;
  /** Id of this katafleet in the service labels `katafleet.want.<id>`; the same after a restart. */
  instance: string;
  /** Labels of services that end with this process: the driver removes them on close. If absent, they stay for the next katafleet. */
  ephemeral?: Readonly<Record<string, string>> | undefined;
  /** The address that tasks dial, `HOST:PORT`, on the network {@link dial}; katafleet finds it out if absent. */
  advertise?: string | undefined;
  /** The machine's port that leads to the listener, if it is not the listener's own. */
  published?: number | undefined;
  /** The network of tasks whose profile has no network. */
  dial: TaskNetwork;
  network?: string | undefined;
  registry?: string | undefined;
  workers: readonly Driver[];
  /** How often services get a new secret (ms); never if absent. */
  rotateMs?: number | undefined;
  lingerMs: number;
  patienceMs: number;
  /** How long the highest number of a service's replicas is kept (ms); a minute if absent. */
  settleMs?: number;
  onTrouble?: ((message: string) => void) | undefined;
}
