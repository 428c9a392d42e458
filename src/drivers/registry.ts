import { type DriverAbilities, type DriverKind, type EndpointScheme, isEndpoint } from '../model/driver-kind.ts';
import { invalidEndpoint } from '../model/endpoint.ts';
import type { Uids } from '../model/users.ts';
import type { Driver, Reached } from './contract.ts';
import { EndpointDriver } from './endpoint-driver.ts';
import { EngineDriver } from './engine/driver.ts';
import type { Expectations, Finding } from './finding.ts';
import { diagnoseSsh } from './ssh/diagnosis/diagnose.ts';
import { SshDriver } from './ssh/driver.ts';
import type { SshSettings } from './transport/target.ts';
import { SshTransport } from './transport/transport.ts';

/** An endpoint as configured, with its settings. */
export interface EndpointSettings {
  endpoint: string;
  /** Other managers of the endpoint's swarm; asked when it does not answer. */
  managers?: readonly string[] | undefined;
  tls?: string | { ca: string; cert: string; key: string } | undefined;
  ssh?: SshSettings | undefined;
}

/** What drivers may need in addition to their endpoint; the same for all drivers of this katafleet. */
export interface DriverSurroundings {
  uids: Uids;
  /** The Docker network of sandboxes that fetch by rsync. */
  rsyncNetwork?: string | undefined;
  /** Folder of a cache that outlives this process. */
  cache?: string | undefined;
  /** Makes the driver of the swarm that an engine manages; all swarms share one port. @throws config.invalid */
  swarmOf: (engine: EngineDriver, settings: EndpointSettings) => Driver;
}

/** An endpoint with what its drivers share. Nothing connects before it is used. */
export interface EndpointParts extends DriverSurroundings {
  settings: EndpointSettings;
  /** Made at the first call; the same at each call. @throws endpoint.invalid */
  engine(): EngineDriver;
  /** For ssh:// endpoints. Made at the first call; the same at each call. @throws endpoint.invalid */
  transport(): SshTransport;
}

interface Verdict {
  fits: boolean;
  /** Why it does, or does not. */
  why: string;
}

/** A driver, for code that lists, chooses or makes drivers. */
export interface DriverEntry {
  readonly kind: DriverKind;
  readonly abilities: DriverAbilities;
  /** Decides from the probe's findings whether it can serve an endpoint. Pure. */
  fits(endpoint: string, reached: Reached): Verdict;
  /** Makes the chosen driver. @throws the reason if it can't be made */
  connect(parts: EndpointParts): Driver;
  /**
   * Checks an endpoint step by step, for `katafleet doctor`; undefined if it has no checks for such an endpoint. Never rejects: an error
   * is a finding. If absent, the doctor probes the endpoint's driver.
   */
  readonly diagnose?: (settings: EndpointSettings, expected: Expectations) => Promise<Finding[] | undefined>;
  /** The scheme of endpoints that only this driver serves. Absent for drivers that use an engine's API or ssh. */
  readonly scheme?: EndpointScheme;
}

/** The first API version whose swarm services support all that sandboxes need: capabilities, pids limits, jobs. */
const swarmApi = [1, 41] as const;

/** All drivers. {@link driverKinds} is their order of preference. */
export const registry: { readonly [K in DriverKind]: DriverEntry & { readonly kind: K } } = {
  swarm: {
    kind: 'swarm',
    abilities: { networks: ['profile'], engineApi: true, needsSwapLimits: false },
    fits: (_endpoint, reached) => {
      if (reached.api !== 'usable') return noApi(reached);
      const { swarm, apiVersion } = reached.fingerprint;
      if (swarm === 'inactive') return { fits: false, why: 'in no swarm' };
      if (swarm === 'locked') return { fits: false, why: 'its swarm is locked: docker swarm unlock' };
      if (swarm === 'worker') return { fits: false, why: 'a worker; only managers take services' };
      const [major = 0, minor = 0] = apiVersion.split('.').map(Number);
      const recent = major > swarmApi[0] || (major === swarmApi[0] && minor >= swarmApi[1]);
      return recent
        ? { fits: true, why: `manager, API ${apiVersion}` }
        : { fits: false, why: `manager, but API ${apiVersion} is below ${swarmApi.join('.')}` };
    },
    connect: (parts) => parts.swarmOf(parts.engine(), parts.settings),
  },
  engine: {
    kind: 'engine',
    abilities: { networks: ['rsync', 'profile'], engineApi: true, needsSwapLimits: false },
    fits: (_endpoint, reached) =>
      reached.api === 'usable' ? { fits: true, why: `API ${reached.fingerprint.apiVersion}` } : noApi(reached),
    connect: (parts) => parts.engine(),
  },
  ssh: {
    kind: 'ssh',
    // Its command line does not tell whether the machine has any swap.
    abilities: { networks: [], engineApi: false, needsSwapLimits: true },
    fits: (endpoint, reached) => {
      if (!endpoint.startsWith('ssh:')) return { fits: false, why: 'the endpoint is not ssh://' };
      return { fits: true, why: reached.api === 'usable' ? "the host's own docker command" : noApi(reached).why };
    },
    connect: (parts) => new SshDriver(parts.transport(), parts.uids),
    diagnose: async ({ endpoint, ssh = {} }, expected) => (endpoint.startsWith('ssh:') ? diagnoseSsh(endpoint, ssh, expected) : undefined),
  },
};

function noApi(reached: Exclude<Reached, { api: 'usable' }>): Verdict {
  return { fits: false, why: reached.api === 'too_old' ? `engine ${reached.engineVersion} has no usable API` : reached.why };
}

/** The findings of the first driver that has a diagnosis for the endpoint; undefined where none has. Never rejects. */
export async function diagnoseEndpoint(settings: EndpointSettings, expected: Expectations): Promise<Finding[] | undefined> {
  for (const { diagnose } of Object.values<DriverEntry>(registry)) {
    const findings = await diagnose?.(settings, expected);
    if (findings) return findings;
  }
  return undefined;
}

/** Makes the driver of an endpoint: the one that owns its scheme, else one of several, chosen by probing. @throws endpoint.invalid */
export function connectEndpoint(
  settings: EndpointSettings,
  surroundings: DriverSurroundings,
  entries: readonly DriverEntry[] = Object.values(registry),
): Driver {
  if (!isEndpoint(settings.endpoint)) throw invalidEndpoint(settings.endpoint);
  const parts = partsOf(settings, surroundings);
  const protocol = new URL(settings.endpoint).protocol;
  const alone = entries.find(({ scheme }) => scheme !== undefined && protocol === `${scheme}:`);
  if (alone) return alone.connect(parts);
  const connect = (kind: DriverKind) => registry[kind].connect(parts);
  // Over ssh the host's own docker command is asked first, and says whether its engine can be reached.
  const ssh = settings.endpoint.startsWith('ssh:') ? new SshDriver(parts.transport(), parts.uids) : undefined;
  return new EndpointDriver({ engine: parts.engine(), ssh, connect });
}

function partsOf(settings: EndpointSettings, surroundings: DriverSurroundings): EndpointParts {
  const { endpoint, tls, ssh } = settings;
  const { uids, rsyncNetwork, cache } = surroundings;
  let transport: SshTransport | undefined;
  let engine: EngineDriver | undefined;
  const parts: EndpointParts = {
    ...surroundings,
    settings,
    transport: () => (transport ??= new SshTransport(endpoint, ssh)),
    engine: () =>
      (engine ??= new EngineDriver({
        endpoint,
        uids,
        rsyncNetwork,
        cache,
        tls,
        transport: endpoint.startsWith('ssh:') ? parts.transport() : undefined,
      })),
  };
  return parts;
}
