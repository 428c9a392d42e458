import type { Config } from './config/schema.ts';
import type { KatafleetOptions } from './index.ts';

/** Idle sandboxes that a pool may keep on a node when no configuration says so: what was asked for lately stays warm. */
const unasked = { min: 0, max: 8 };

/** What a configuration means for {@link Katafleet}. */
export function optionsOf(config: Config): KatafleetOptions {
  const { nodes, defaults, queue, health, placement, retries, images, reaping } = config;
  return {
    ...(nodes ? { nodes } : {}),
    pool: unasked,
    idleMemory: defaults.idleMemory,
    policy: { pack: placement.policy },
    queue: { runs: queue.runs, bytes: queue.bytes, perTenant: queue.perTenant },
    attempts: retries.attempts,
    health: { intervalMs: health.interval, timeoutMs: health.timeout, failures: health.failures, successes: health.successes },
    copy: images.copy,
    graceMs: reaping.grace,
  };
}
