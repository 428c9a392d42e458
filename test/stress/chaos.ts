import { parseArgs } from 'node:util';
import { type Injection, injections } from './chaos/ground.ts';
import type { FindingKind } from './load/history.ts';
import { faultKinds } from './chaos/table.ts';
import { storm } from './chaos/storm.ts';

/**
 * `npm run test:chaos -- [--minutes 20] [--seed N] [--clients 10] [--faults 'cut node,…'] [--inject drop-commit]`: four hosts and a swarm of three break in every
 * way while runs are submitted. KATAFLEET_TEST_ENGINE names the folder of an engine that has the image build-essential. Fails if a run is
 * lost or doubled, or something is left over. The seed makes the same choices; the moments of the strikes differ.
 */
const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '20' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    clients: { type: 'string', default: '10' },
    hosts: { type: 'string', default: '4' },
    swarm: { type: 'string', default: '3' },
    faults: { type: 'string', default: faultKinds.join(',') },
    inject: { type: 'string' },
    log: { type: 'boolean', default: false },
  },
});
const seed = Number(values.seed);
const inject = Object.hasOwn(injections, values.inject ?? '') ? (values.inject as Injection) : undefined;
const kinds = faultKinds.filter((kind) => values.faults.split(',').includes(kind));
if (values.inject !== undefined && inject === undefined) throw new Error(`--inject: expected ${Object.keys(injections).join(', ')}`);
process.once('SIGINT', () => process.exit(130)); // removes the hosts
const begun = Date.now();
const told = (line: string) => console.log(`${((Date.now() - begun) / 1000).toFixed(1).padStart(7)} ${line}`);
told(`seed ${seed}, ${values.minutes} minutes, ${values.clients} clients`);
const report = await storm({
  ...{ seed, inject, told, kinds, minutes: Number(values.minutes), clients: Number(values.clients) },
  ...{ hosts: Number(values.hosts), swarm: Number(values.swarm) },
});
const { table, findings, surprises, leftOver, troubles, acknowledged, ends, attempts, executions } = report;
console.log(table.toString());
console.log(
  `pairs below 5: ${
    table
      .rare(5)
      .map(({ fault, state }) => `${fault}/${state}`)
      .join(', ') || 'none'
  }`,
);
const total = Array.from(ends, ([end, count]) => `${count} ${end}`).join(', ');
console.log(`${acknowledged} runs acknowledged; stored: ${total}; ${attempts} attempts; ${executions} executions seen`);
for (const { kind, key, text } of findings) console.log(`${kind}: ${key}: ${text}`);
for (const text of surprises) console.log(`surprise: ${text}`);
for (const text of troubles) console.log(`trouble: ${text}`);
for (const name of leftOver) console.log(`left over: ${name}`);
const count = (...kinds: FindingKind[]) => findings.filter(({ kind }) => kinds.includes(kind)).length;
console.log(
  `${count('lost', 'wrong')} lost, ${count('doubled', 'changed', 'unasked', 'refused')} doubled, ${count('failed')} failed, ${leftOver.length} left over`,
);
if (findings.length + surprises.length + troubles.length + leftOver.length > 0) {
  if (values.log) console.log(report.log);
  console.log(`FAILED with --seed ${seed}`);
  process.exitCode = 1;
}
