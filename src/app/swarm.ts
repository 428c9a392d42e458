import { randomUUID } from 'node:crypto';
import { hour } from '../base/units.ts';
import { defaults } from '../model/defaults.ts';
import { labels } from '../model/labels.ts';
import { EngineDriver } from '../drivers/engine/driver.ts';
import { SwarmDriver } from '../drivers/swarm/driver.ts';
import { SwarmKeys } from '../drivers/swarm/services/keys.ts';
import { Listener } from '../drivers/swarm/dial/listener.ts';
import type { SshSettings } from '../drivers/transport/target.ts';
import { SshTransport } from '../drivers/transport/transport.ts';
import type { EndpointSettings } from '../drivers/registry.ts';
import { ownerOf } from '../base/process-owner.ts';
import type { JournalIdentity } from '../fleet/upkeep/reaper.ts';

/** An engine of a swarm's node that katafleet can reach directly. */
export interface WorkerSettings {
  endpoint: string;
  tls?: string | { ca: string; cert: string; key: string } | undefined;
  ssh?: SshSettings | undefined;
}

/** Options that hold for every swarm of this katafleet. */
export interface SwarmOptions {
  /** Label on everything that katafleet makes in a swarm; `katafleet` if absent. */
  stack?: string;
  /** Address at which katafleet listens for tasks; any free port of all addresses if absent. */
  listen?: { host: string; port: number };
  /** Address that tasks dial, `HOST:PORT`; found out if absent. */
  advertise?: string | undefined;
  /** The port that leads to {@link listen} from outside, if it is another. */
  published?: number | undefined;
  /** How tasks are connected if their profile does not say; `host` if absent. */
  dial?: 'host' | 'overlay';
  /** Name of the overlay; `<stack>_tasks` if absent. */
  network?: string | undefined;
  /** File with the master key. Absent: pools live and end with this process. */
  key?: string | undefined;
  registry?: string | undefined;
  rotateMs?: number | undefined;
  lingerMs?: number;
  patienceMs?: number;
  workers?: readonly WorkerSettings[];
}

interface Surroundings {
  journal?: JournalIdentity;
  onTrouble?: (message: string) => void;
}

/** Deadline of what a process without a key makes: the longest run plus a margin, ms. */
const longestMs = 26 * hour;

/** Makes the drivers of swarms: they share one port, one key and one name. */
export class SwarmConnector {
  readonly #options: SwarmOptions;
  readonly #surroundings: Surroundings;
  #listener: Listener | undefined;

  constructor(options: SwarmOptions, surroundings: Surroundings) {
    this.#options = options;
    this.#surroundings = surroundings;
  }

  /** @throws config.invalid */
  driver(engine: EngineDriver, { managers = [], tls }: EndpointSettings): SwarmDriver {
    const {
      stack = defaults.swarm.stack,
      listen = { host: '0.0.0.0', port: 0 },
      dial = defaults.swarm.dial,
      workers = [],
      key,
    } = this.#options;
    const {
      advertise,
      published,
      network,
      registry,
      rotateMs,
      lingerMs = defaults.swarm.lingerMs,
      patienceMs = defaults.swarm.patienceMs,
    } = this.#options;
    const { journal, onTrouble } = this.#surroundings;
    this.#listener ??= new Listener({ ...listen, ...(onTrouble ? { onTrouble } : {}) });
    const others = managers.map((endpoint) => new EngineDriver({ endpoint, ...(tls === undefined ? {} : { tls }) }));
    return new SwarmDriver({
      managers: [engine, ...others],
      listener: this.#listener,
      keys: key === undefined ? SwarmKeys.ephemeral() : SwarmKeys.from(key, onTrouble),
      ephemeral: key === undefined ? processLabels() : undefined,
      instance: (journal?.identity ?? randomUUID()).slice(0, 13),
      workers: workers.map(worker),
      ...{ stack, dial, advertise, published, network, registry, rotateMs, lingerMs, patienceMs, onTrouble },
    });
  }

  async close(): Promise<void> {
    await this.#listener?.close();
  }
}

/** Labels of what must not outlive this process. */
function processLabels(): Record<string, string> {
  const owner = ownerOf('self');
  return { [labels.deadline]: String(Date.now() + longestMs), ...(owner === undefined ? {} : { [labels.owner]: owner }) };
}

function worker({ endpoint, tls, ssh }: WorkerSettings): EngineDriver {
  if (endpoint.startsWith('ssh:')) return new EngineDriver({ endpoint, transport: new SshTransport(endpoint, ssh) });
  return new EngineDriver({ endpoint, ...(tls === undefined ? {} : { tls }) });
}
