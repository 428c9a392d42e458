import { parseArgs } from 'node:util';
import { endpoint } from '../support/fleet.ts';
import { killStorm } from './kill-storm.ts';

/**
 * `npm run test:kills -- [--kills 200] [--clients 8] [--seed N]`: kill -9 of katafleet at random moments under load. DOCKER_HOST names an
 * engine that has the image build-essential (scripts/engine env FOLDER). Fails if an acknowledged run is not there with one end, a request
 * that was not acknowledged ran twice, or something is left over.
 */
const { values } = parseArgs({
  options: {
    kills: { type: 'string', default: '200' },
    clients: { type: 'string', default: '8' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
  },
});
const [kills, clients, seed] = [Number(values.kills), Number(values.clients), Number(values.seed)];
console.log(`seed ${seed}: ${kills} kills, ${clients} clients`);
process.once('SIGINT', () => process.exit(130)); // ends katafleet
const begun = performance.now();
const report = await killStorm({ endpoint, kills, clients, seed, told: console.log });
const { acknowledged, unacknowledged, executed, diedInStart, findings, surprises, leftOver } = report;
console.log(`${kills} kills in ${((performance.now() - begun) / 1000).toFixed(0)} s, ${diedInStart} of them while katafleet started`);
console.log(
  `${acknowledged} requests acknowledged; not acknowledged: ${unacknowledged.stored} stored, ${unacknowledged.notStored} not stored`,
);
console.log(`${executed.once} requests were executed once, ${executed.again} more often`);
for (const { kind, key, text } of findings) console.log(`${kind}: ${key}: ${text}`);
for (const text of surprises) console.log(`surprise: ${text}`);
for (const name of leftOver) console.log(`left over: ${name}`);
if (findings.length + surprises.length + leftOver.length > 0) {
  console.log(`FAILED with --seed ${seed}`);
  process.exitCode = 1;
}
