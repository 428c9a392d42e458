import { hour, MiB, minute, second } from '../base/units.ts';

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
  /** How long a node may take to make a sandbox for a run, until another node is tried. */
  acquireMs: minute,
  /** How long a container past its deadline may stay on a node. */
  graceMs: minute,
  /** The queue's bytes are a share of the server's memory, see base/server-memory.ts. */
  queue: { runs: 10_000, perTenant: 5_000 },
  /** Longest wait of a run in the queue. */
  queueMs: minute,
  health: { intervalMs: 2 * second, timeoutMs: 2 * second, startMs: minute, failures: 3, successes: 2 },
  /** How long a node must be down, or back, before its share of the idle sandboxes moves. */
  awayMs: minute,
  sessions: { most: 100, perTenant: 50, idleMs: 10 * minute, ageMs: hour, memory: 0.5 },
  swarm: { stack: 'katafleet', dial: 'host', lingerMs: 10 * minute, patienceMs: 30 * second },
  /** Ports of the API, and of the tasks of swarms that dial in. */
  ports: { api: 7420, dial: 7421 },
} as const;
