import type { DriverKind, Fingerprint } from './contract.ts';

/** What the configuration wants of an endpoint's driver. */
export type DriverPolicy = 'auto' | DriverKind;

/** What probing found, as far as the choice needs it. */
export type Reached =
  | { api: 'usable'; fingerprint: Pick<Fingerprint, 'apiVersion' | 'swarm'> }
  /** It answers, and its API is older than 1.24. */
  | { api: 'too_old'; engineVersion: string }
  /** Nothing answers as an engine does; over ssh the host's own docker may still be there. */
  | { api: 'none'; why: string };

export type Choice =
  | { driver: DriverKind; why: string; passedOver: { driver: DriverKind; why: string }[] }
  | { driver: undefined; why: string; passedOver: { driver: DriverKind; why: string }[] };

const preference: readonly DriverKind[] = ['swarm', 'engine', 'ssh'];
/** Swarm services with what sandboxes need (capabilities, pids limits, jobs) exist since this API version. */
const swarmApi = [1, 41] as const;

/**
 * Which driver serves an endpoint: swarm before engine before ssh, unless the policy names one. Pure, and it says why,
 * for the one chosen and for each that was preferred to it. `built` lists the drivers that this katafleet has.
 */
export function chooseDriver(endpoint: string, reached: Reached, policy: DriverPolicy, built: readonly DriverKind[]): Choice {
  const passedOver: { driver: DriverKind; why: string }[] = [];
  for (const driver of policy === 'auto' ? preference : [policy]) {
    const { fits, why } = verdict[driver](endpoint, reached);
    if (fits && built.includes(driver)) return { driver, why, passedOver };
    passedOver.push({ driver, why: fits ? `${why}, but this katafleet has no ${driver} driver` : why });
  }
  const why = passedOver.map((one) => `${one.driver}: ${one.why}`).join('; ');
  return { driver: undefined, why: policy === 'auto' ? why : `the configuration wants ${why}`, passedOver };
}

interface Verdict {
  fits: boolean;
  why: string;
}

const verdict: Record<DriverKind, (endpoint: string, reached: Reached) => Verdict> = {
  swarm: (_endpoint, reached) => {
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
  engine: (_endpoint, reached) =>
    reached.api === 'usable' ? { fits: true, why: `API ${reached.fingerprint.apiVersion}` } : noApi(reached),
  ssh: (endpoint, reached) => {
    if (!endpoint.startsWith('ssh:')) return { fits: false, why: 'the endpoint is not ssh://' };
    return { fits: true, why: reached.api === 'usable' ? "the host's own docker command" : noApi(reached).why };
  },
};

function noApi(reached: Exclude<Reached, { api: 'usable' }>): Verdict {
  return { fits: false, why: reached.api === 'too_old' ? `engine ${reached.engineVersion} has no usable API` : reached.why };
}
