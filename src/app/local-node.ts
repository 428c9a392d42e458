import { defaults } from '../model/defaults.ts';
import { endpointFromEnvironment } from '../drivers/engine/endpoint.ts';
import type { NodeSettings } from '../fleet/node/settings.ts';

/** Returns the single node: the engine that is given, else the one of DOCKER_HOST, else the one at the default socket. */
export function localNode(
  { endpoint, certPath }: { endpoint?: string; certPath?: string } = {},
  { driver, reserve, withoutMemoryLimits }: Pick<NodeSettings, 'driver' | 'reserve' | 'withoutMemoryLimits'> = defaults,
): NodeSettings {
  const given: { endpoint: string; certPath?: string } = endpoint === undefined ? endpointFromEnvironment(process.env) : { endpoint };
  const tls = certPath ?? given.certPath;
  return {
    name: 'local',
    endpoint: given.endpoint,
    ...(tls === undefined ? {} : { tls }),
    labels: {},
    driver,
    reserve,
    withoutMemoryLimits,
    cordoned: false,
  };
}
