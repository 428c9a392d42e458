/**
 * How long the event loop stands still when 1,000 runs are too late at once, on 1,000 full nodes in memory: all of one shape, and each
 * of its own. `npm run bench:expiries [-- NODES RUNS]`. Needs no engine.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { dispatching, jobOf } from '../support/dispatching.ts';
import { MiB } from '../support/fake-fleet.ts';

const [nodes = 1_000, runs = 1_000] = process.argv.slice(2).map(Number);
setInterval(() => undefined, 1_000); // the queue does not keep the process alive

/** The longest stall while all runs end, ms. */
async function stall(memoryOf: (run: number) => number): Promise<number> {
  const names = Array.from({ length: nodes }, (_, node) => `n${node}`);
  const { fleet, dispatcher } = await dispatching(names, { limits: { runs: 1e6, bytes: 1e12, perTenant: 1e6 } });
  for (const name of names) fleet.cluster.reserve(name, fleet.cluster.node(name)?.free ?? 0);
  const ended: Promise<unknown>[] = [];
  const begun = performance.now();
  const queueMs = 3_000;
  for (let run = 0; run < runs; run += 1) {
    const left = Math.round(begun + queueMs - performance.now());
    ended.push(dispatcher.submit(jobOf(['echo'], { queueMs: left, memory: memoryOf(run), tenant: `t${run % 20}` })).catch(() => undefined));
    if (run % 50 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  await new Promise((resolve) => setTimeout(resolve, begun + queueMs - 200 - performance.now()));
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  await Promise.all(ended);
  delay.disable();
  await fleet.close();
  return delay.max / 1e6;
}

for (const [what, memoryOf] of [
  ['of one shape', () => 512 * MiB],
  ['each of its own shape', (run: number) => (512 + run) * MiB],
] as const) {
  console.log(
    `${runs} runs ${what} expire on ${nodes} nodes: the event loop stands still for ${(await stall(memoryOf)).toFixed(1)} ms at most`,
  );
}
process.exit(0);
