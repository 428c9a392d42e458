/**
 * What things take, ms. Measured by `npm run bench` on a machine with 2 CPUs (docs/performance.md, “Runs”), unless it says
 * that it is assumed.
 */
export const latencies = {
  /** From OPEN to the result of `true` in a sandbox that waited. */
  handOver: 3,
  /** A sandbox from nothing to its greeting, alone. Four at a time make 11.4 a second, no more than one after another. */
  create: 87,
  /** From the end of a run to the engine's word that its container is gone. */
  remove: { least: 50, most: 90 },
  /** An image brought from another node; assumed: some hundred MiB over a network of 1 Gbit/s. */
  copy: 10_000,
} as const;

/** CPUs of the machine on which they were measured, and of each simulated node. */
export const cpus = 2;

/** A compile and its tests: log-normal, its median 1 s and 95 of 100 below 2.3 s; assumed. */
export const work = { medianMs: 1_000, sigma: 0.5 } as const;

/** Health as configured by default: looked at every 2 s, three bad looks are down, an answer waited for 2 s. */
export const health = { intervalMs: 2_000, timeoutMs: 2_000, failures: 3 } as const;
