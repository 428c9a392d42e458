import { MiB } from '../base/units.ts';

/** Defaults of the configuration and of the library. Sizes are bytes, times ms. */
export const defaults = {
  /** The part of a node's memory that sandboxes do not get. */
  reserve: { share: 0.1 },
  driver: 'auto',
  withoutMemoryLimits: false,
  idleMemory: 16 * MiB,
  policy: 'spread',
  copy: true,
  attempts: 3,
  /** How long a container past its deadline may stay on a node. */
  graceMs: 60_000,
  /** The queue's bytes are a share of the server's memory, see base/server-memory.ts. */
  queue: { runs: 10_000, perTenant: 5_000 },
  health: { intervalMs: 2_000, timeoutMs: 2_000, failures: 3, successes: 2 },
  sessions: { most: 100, perTenant: 50, idleMs: 600_000, ageMs: 3_600_000, memory: 0.5 },
  swarm: { stack: 'katafleet', dial: 'host', lingerMs: 600_000, patienceMs: 30_000 },
} as const;
