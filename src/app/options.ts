import type { Config } from '../config/schema.ts';
import { parseListen } from '../model/endpoint.ts';
import { localNode } from './local-node.ts';
import type { KatafleetOptions } from './library.ts';
import type { SwarmOptions } from './swarm.ts';

/** Returns the options of {@link Katafleet} for a configuration. */
export function optionsOf(config: Config): KatafleetOptions {
  const { nodes, defaults, queue, health, placement, retries, runs, sessions, sandboxes, images, reaping, rsync, swarm } = config;
  return {
    nodes: nodes ?? [localNode({}, defaults)],
    idleMemory: defaults.idleMemory,
    policy: { pack: placement.policy },
    queue: { runs: queue.runs, bytes: queue.bytes, perTenant: queue.perTenant },
    attempts: retries.attempts,
    acquireMs: runs.acquire,
    sessions: {
      most: sessions.most,
      perTenant: sessions.perTenant,
      idleMs: sessions.idle,
      ageMs: sessions.age,
      memory: sessions.memory,
    },
    health: {
      intervalMs: health.interval,
      timeoutMs: health.timeout,
      startMs: health.start,
      failures: health.failures,
      successes: health.successes,
    },
    awayMs: health.away,
    copy: images.copy,
    uids: sandboxes.uids,
    graceMs: reaping.grace,
    swarm: swarmOptions(swarm),
    ...(rsync.daemon === 'off' ? {} : { rsync: rsyncOptions(rsync, rsync.daemon) }),
  };
}

function rsyncOptions(rsync: Config['rsync'], daemon: 'own' | 'machine'): NonNullable<KatafleetOptions['rsync']> {
  const { program, accept, folder, listen, advertise, hostsAllow, roots, network, timeout, pushFrom } = rsync;
  return {
    daemon,
    program,
    accept,
    folder,
    listen: addressOf(listen),
    advertise: addressOf(advertise),
    hostsAllow,
    roots,
    network,
    timeoutMs: timeout,
    pushFrom,
  };
}

function swarmOptions({ listen, rotate, linger, patience, ...rest }: Config['swarm']): SwarmOptions {
  return { ...rest, listen: addressOf(listen), rotateMs: rotate, lingerMs: linger, patienceMs: patience };
}

/** The schema took it. */
const addressOf = (text: string): { host: string; port: number } => parseListen(text) ?? { host: '127.0.0.1', port: 0 };
