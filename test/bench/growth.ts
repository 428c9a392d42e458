// `npm run bench:growth`: what one placement costs as the fleet grows, by the simulation of a school day; and how long the event loop stands
// still when many runs are too late at once.
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { parseArgs } from 'node:util';
import { variants } from '../simulation/policies.ts';
import { Simulation } from '../simulation/simulation.ts';
import { workload } from '../simulation/workload.ts';
import { dispatching, jobOf } from '../support/dispatching.ts';
import { seeded } from '../support/random.ts';
import { machine, publish, table, today } from './report.ts';
import { type Spread, spreadOf } from './statistics.ts';

const { values } = parseArgs({ options: { perNode: { type: 'string', default: '20' }, write: { type: 'boolean' } } });
const perNode = Number(values.perNode);
const sizes = [1_000, 3_000, 10_000];
const [standard] = variants;
if (!standard) throw new Error('no variants');

interface Grown {
  nodes: number;
  decision: Spread & { mean: number };
  /** CPU time for each run, with all that the simulation itself does, µs. */
  perRun: number;
}

async function grow(nodes: number): Promise<Grown> {
  const runs = nodes * perNode;
  const presses = workload({ runs, random: seeded(1) });
  const decisions: number[] = [];
  const simulation = new Simulation(standard as NonNullable<typeof standard>, {
    nodes,
    presses,
    seed: 1,
    onDecision: (ms) => decisions.push(1_000 * ms),
  });
  const before = process.cpuUsage();
  await simulation.run();
  const { user, system } = process.cpuUsage(before);
  return {
    nodes,
    decision: { ...spreadOf(decisions), mean: decisions.reduce((sum, one) => sum + one, 0) / decisions.length },
    perRun: (user + system) / runs,
  };
}

/** Longest stalls of the event loop, ms: before the runs are too late, which tells how busy the machine is, and then; and the CPU of that. */
interface Expiry {
  before: number;
  stall: number;
  cpu: number;
}

async function expire(nodes: number, runs: number): Promise<Expiry> {
  const names = Array.from({ length: nodes }, (_, at) => `n${at}`);
  const { dispatcher, fleet, close } = await dispatching(names, { limits: { runs, bytes: Infinity, perTenant: runs } });
  for (const name of names) fleet.cordon(name);
  const ends = Array.from({ length: runs }, () => dispatcher.submit(jobOf(['true'], { queueMs: 2_500 })).catch(() => undefined));
  const delay = monitorEventLoopDelay({ resolution: 1 });
  const alive = setInterval(() => undefined, 1_000); // the queue's own clock keeps no process alive
  const during = async (body: () => Promise<unknown>) => {
    delay.reset();
    delay.enable();
    const cpu = process.cpuUsage();
    await body();
    const { user, system } = process.cpuUsage(cpu);
    delay.disable();
    return { stall: delay.max / 1e6 - 1, cpu: (user + system) / 1_000 };
  };
  const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
  await pause(500);
  const { stall: before } = await during(() => pause(1_500));
  const { stall, cpu } = await during(() => Promise.all(ends).then(() => pause(20)));
  clearInterval(alive);
  for (const name of names) fleet.uncordon(name);
  await close();
  return { before, stall, cpu };
}

const grown: Grown[] = [];
for (const nodes of sizes) {
  const one = await grow(nodes);
  grown.push(one);
  process.stderr.write(
    `${nodes} nodes: a decision ${one.decision.median.toFixed(1)} µs, p99 ${one.decision.p99.toFixed(1)}; a run ${one.perRun.toFixed(0)} µs\n`,
  );
}
const [first, , last] = grown;
if (!first || !last) throw new Error('no sizes');
const ratio = (of: (one: Grown) => number) => of(last) / of(first);
/** n log n in all is log n for each. */
const allowed = Math.log(last.nodes) / Math.log(first.nodes);
const expiries: Expiry[] = [];
for (const nodes of sizes.slice(0, 2)) {
  const expiry = await expire(nodes, 1_000);
  expiries.push(expiry);
  process.stderr.write(`1,000 runs too late at once on ${nodes} nodes: ${JSON.stringify(expiry)}\n`);
}
const micro = (value: number) => value.toFixed(value < 10 ? 1 : 0);
await publish(
  'growth',
  `Made by \`npm run bench:growth -- --write\` (${today()}): a school day of ${perNode} runs for each node in virtual time. One decision is a call of the
scheduler that gives the next run its place. n log n in all is a factor of ${allowed.toFixed(2)} for each from ${first.nodes.toLocaleString('en')} to ${last.nodes.toLocaleString('en')} nodes.

Machine: ${machine()}.

${table(
  [
    'nodes',
    'runs',
    'decisions',
    'a decision: p50, p95, p99, mean',
    'CPU of a run, all of it',
    '1,000 runs too late at once: longest stall, CPU; longest stall before',
  ],
  grown.map(({ nodes, decision, perRun }, at) => [
    nodes.toLocaleString('en'),
    (nodes * perNode).toLocaleString('en'),
    decision.n.toLocaleString('en'),
    `${[decision.median, decision.p95, decision.p99, decision.mean].map(micro).join(', ')} µs`,
    `${micro(perRun)} µs`,
    expiries[at] ? `${expiries[at].stall.toFixed(1)}, ${expiries[at].cpu.toFixed(1)}; ${expiries[at].before.toFixed(1)} ms` : '–',
  ]),
)}

Growth from ${first.nodes.toLocaleString('en')} to ${last.nodes.toLocaleString('en')} nodes: a decision's median ${ratio((one) => one.decision.median).toFixed(2)} ×, its mean ${ratio((one) => one.decision.mean).toFixed(2)} ×, a run's CPU ${ratio((one) => one.perRun).toFixed(2)} ×. The stall's
target, at most 20 ms on 1,000 nodes: ${(expiries[0]?.stall ?? Infinity) <= 20 ? 'reached' : '**not reached**'}.`,
);
