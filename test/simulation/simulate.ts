// A school day of the whole fleet in virtual time: `npm run simulate [-- --help]`. Needs no engine.
import { parseArgs } from 'node:util';
import { publish, today } from '../bench/report.ts';
import { seeded } from '../support/random.ts';
import { type Variant, variants } from './policies.ts';
import { Simulation } from './simulation.ts';
import { comparison, reportTable, type Result } from './tables.ts';
import { workload } from './workload.ts';

const usage = `npm run simulate -- [--runs N] [--nodes N] [--seed N] [--policy NAME] [--write]

  --runs N       runs of the day (1000000)
  --nodes N      nodes of the fleet (1000)
  --seed N       same seed, same report (1)
  --policy NAME  this one alone, in full; else the default in full, and all compared at a tenth of the size:
${variants.map(({ name, what }) => `                   ${name.padEnd(12)} ${what}`).join('\n')}
  --write        puts the tables into docs/performance.md (not with --policy)
`;

/** How much smaller the fleet and its day are on which policies are compared. */
const tenth = 10;

function fail(message: string): never {
  process.stderr.write(`${message}\n\n${usage}`);
  process.exit(64);
}

function options() {
  try {
    const { values } = parseArgs({
      options: {
        runs: { type: 'string', default: '1000000' },
        nodes: { type: 'string', default: '1000' },
        seed: { type: 'string', default: '1' },
        policy: { type: 'string' },
        write: { type: 'boolean', default: false },
        help: { type: 'boolean', short: 'h', default: false },
      },
    });
    return values;
  } catch (error) {
    return fail(error instanceof Error ? error.message : String(error));
  }
}

function whole(name: string, text: string, least: number): number {
  const value = Number(text);
  return Number.isSafeInteger(value) && value >= least ? value : fail(`--${name}: expected a whole number from ${least}, got ${text}`);
}

async function simulate(variant: Variant, runs: number, nodes: number, seed: number): Promise<Result> {
  const began = performance.now();
  const presses = workload({ runs, random: seeded(seed) });
  const say = (words: string) => process.stderr.write(`${variant.name}, ${nodes} nodes: ${words}\n`);
  const spent = () => `${((performance.now() - began) / 1_000).toFixed(0)} s`;
  const onProgress = (ended: number) => say(`${((100 * ended) / runs).toFixed(0)} % of ${runs} runs have ended, ${spent()}`);
  const report = await new Simulation(variant, { nodes, presses, seed, onProgress }).run();
  say(`done in ${spent()}`);
  return { variant, report };
}

const given = options();
if (given.help) {
  process.stdout.write(usage);
  process.exit(0);
}
const [runs, nodes, seed] = [whole('runs', given.runs, 1), whole('nodes', given.nodes, 1), whole('seed', given.seed, 0)];
const one = variants.find(({ name }) => name === given.policy);
if (given.policy !== undefined && !one) fail(`no policy ${given.policy}; there are: ${variants.map(({ name }) => name).join(', ')}`);
if (one && given.write) fail('--write goes without --policy: the page shows them all');

if (one) {
  process.stdout.write(`${reportTable(await simulate(one, runs, nodes, seed))}\n`);
} else {
  const [standard] = variants;
  if (!standard) throw new Error('no variants');
  const [fewer, smaller] = [Math.ceil(runs / tenth), Math.ceil(nodes / tenth)];
  const full = await simulate(standard, runs, nodes, seed);
  const results: Result[] = [];
  for (const variant of variants) results.push(await simulate(variant, fewer, smaller, seed));
  const command = ['npm run simulate --', ...process.argv.slice(2).filter((word) => word !== '--write'), '--write'].join(' ');
  await publish(
    'simulation',
    `Made by \`${command}\` (${today()}), seed ${seed}. What is simulated and what is not: [scheduling](scheduling.md#the-simulation).

The default policy, ${nodes.toLocaleString('en')} nodes:

${reportTable(full)}

Policies compared over ${fewer.toLocaleString('en')} runs on ${smaller.toLocaleString('en')} nodes:

${comparison(results)}`,
  );
}
