import type Dockerode from 'dockerode';
import { KatafleetError } from '../model/errors.ts';
import { atLeast, parseApiVersion } from '../drivers/docker/version.ts';

/** The first API that lets services have capabilities (engine 20.10). */
const leastApi = [1, 41] as const;

/** The fields of an engine's swarm that are read. */
export interface SwarmView {
  LocalNodeState?: string;
  ControlAvailable?: boolean;
  Error?: string;
  RemoteManagers?: readonly { Addr: string }[] | null;
}

/** Returns why an engine is no manager that can deploy; undefined if it is one. */
export function noManager(swarm: SwarmView | undefined, api: string, endpoint: string): KatafleetError | undefined {
  const not = (message: string, hint: string) => new KatafleetError('swarm.unavailable', `the engine at ${endpoint} ${message}`, { hint });
  const state = swarm?.LocalNodeState ?? 'inactive';
  if (state === 'locked') return not('is in a locked swarm and does not have its key', 'docker swarm unlock');
  if (state === 'pending') return not('is joining a swarm', 'wait until docker node ls shows it');
  if (state === 'error') return not(`is in a swarm with an error: ${swarm?.Error ?? ''}`, 'docker info says more');
  if (state !== 'active') return not('is in no swarm', 'create one by docker swarm init, or use --stack compose');
  if (!swarm?.ControlAvailable) {
    const managers = (swarm?.RemoteManagers ?? []).map(({ Addr }) => Addr.replace(/:\d+$/, ''));
    return not(
      'is a worker of its swarm; only a manager can deploy',
      `use --host with a manager: ${managers.join(', ') || 'docker node ls names them'}`,
    );
  }
  if (!atLeast(parseApiVersion(api), leastApi))
    return not(`speaks API ${api}; services without capabilities need ${leastApi.join('.')}`, 'upgrade it to Docker 20.10 or later');
  return undefined;
}

/** @throws swarm.unavailable */
export async function requireManager(docker: Dockerode, api: string, endpoint: string): Promise<void> {
  const { Swarm } = (await docker.info()) as { Swarm?: SwarmView };
  const why = noManager(Swarm, api, endpoint);
  if (why) throw why;
}
