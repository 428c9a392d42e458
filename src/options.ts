import type { Config } from './config/schema.ts';
import { endpointFromEnvironment } from './drivers/engine/endpoint.ts';
import type { MemberSettings } from './fleet/member.ts';
import type { KatafleetOptions } from './index.ts';

/** What a configuration means for {@link Katafleet}. */
export function optionsOf(config: Config): KatafleetOptions {
  const { nodes, defaults, queue, health, placement, retries, sessions, images, reaping } = config;
  return {
    nodes: nodes ?? [localNode(defaults)],
    idleMemory: defaults.idleMemory,
    policy: { pack: placement.policy },
    queue: { runs: queue.runs, bytes: queue.bytes, perTenant: queue.perTenant },
    attempts: retries.attempts,
    sessions: {
      most: sessions.most,
      perTenant: sessions.perTenant,
      idleMs: sessions.idle,
      ageMs: sessions.age,
      memory: sessions.memory,
    },
    health: { intervalMs: health.interval, timeoutMs: health.timeout, failures: health.failures, successes: health.successes },
    copy: images.copy,
    graceMs: reaping.grace,
  };
}

/** The engine that Docker's own variables name, else the default socket. */
function localNode({ driver, reserve, withoutMemoryLimits }: Config['defaults']): MemberSettings {
  const { endpoint, certPath } = endpointFromEnvironment(process.env);
  return {
    name: 'local',
    endpoint,
    ...(certPath === undefined ? {} : { tls: certPath }),
    labels: {},
    driver,
    reserve,
    withoutMemoryLimits,
    cordoned: false,
  };
}
