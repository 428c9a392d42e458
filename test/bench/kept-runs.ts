// `npm run bench:kept -- [--runs N]`: how long the journal takes to list runs and to give one, with many kept; and how many runs it alone
// accepts and finishes in a second.
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { hour } from '../../src/base/units.ts';
import { Store } from '../../src/store/store.ts';
import { fillJournal, tenants } from './load/filled-journal.ts';
import { cpuOf } from './load/measured-server.ts';
import { machine, publish, table, today } from './report.ts';
import { spreadOf } from './statistics.ts';

const { values } = parseArgs({ options: { runs: { type: 'string', default: '200000' }, write: { type: 'boolean' } } });
const runs = Number(values.runs);
const rounds = 200;
const folder = await mkdtemp(join(tmpdir(), 'katafleet-kept-'));
const file = join(folder, 'journal.db');
const begun = performance.now();
const cpuBefore = cpuOf(process.pid);
let perSecond = 0;
let cpu = cpuBefore;
const ids = await fillJournal(file, { runs, files: 1, fileBytes: 200, ago: hour }, () => {
  perSecond = runs / ((performance.now() - begun) / 1_000);
  cpu = cpuOf(process.pid);
});
const perRun = (ms: number) => `${(ms / runs).toFixed(3)} ms`;
process.stderr.write(`filled with ${runs} runs: ${perSecond.toFixed(0)} a second\n`);
const journal = await Store.open(file);
const some = (at: number) => ids[(at * 7_919) % ids.length] ?? assert.fail('no run');
const asks: Record<string, (round: number) => unknown> = {
  'the newest 50': () => journal.list({ limit: 50 }),
  'the newest 1,000': () => journal.list({ limit: 1_000 }),
  'of a tenant': (round) => journal.list({ limit: 50, tenant: tenants[round % tenants.length] ?? '' }),
  'of a tenant that has none': () => journal.list({ limit: 50, tenant: 'nobody' }),
  finished: () => journal.list({ limit: 50, state: 'finished' }),
  'waiting: none': () => journal.list({ limit: 50, state: 'waiting' }),
  'a tenant’s that failed: none': (round) => journal.list({ limit: 50, state: 'failed', tenant: tenants[round % tenants.length] ?? '' }),
  'how many in each state': () => journal.counts(),
  'one run, with its result': (round) => journal.get(some(round)),
  'one run as the API shows it': (round) => journal.look(some(round)),
  'a run by its key': (round) =>
    journal.known(tenants[((round * 7) % runs) % tenants.length] ?? '', `key-${(round * 7) % runs}`, { index: (round * 7) % runs }),
};
const ms = (value: number) => value.toFixed(value < 10 ? 2 : 0);
const rows: string[][] = [];
for (const [what, ask] of Object.entries(asks)) {
  const times: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    const from = performance.now();
    await ask(round);
    times.push(performance.now() - from);
  }
  const { median, p95, p99, most } = spreadOf(times);
  rows.push([what, `${ms(median)}, ${ms(p95)}, ${ms(p99)}, ${ms(most)} ms`, '≤ 5 ms', p99 <= 5 ? 'yes' : '**no**']);
  process.stderr.write(`${rows.at(-1)?.join(' | ')}\n`);
}
await journal.close();
await rm(folder, { recursive: true });
await publish(
  'kept',
  `Made by \`npm run bench:kept -- --write\` (${today()}): a journal with ${runs.toLocaleString('en')} ended runs, each with a file of 600 bytes in and one of 200 back. p50,
p95, p99 and most of ${rounds} questions, one after another; a target holds for the 99th percentile.

Machine: ${machine()}.

${table(
  ['what', 'measured', 'target', 'reached'],
  [
    ['accepted, begun and finished', `${perSecond.toFixed(0)} a second`, '≥ 5,000', perSecond >= 5_000 ? 'yes' : '**no**'],
    [
      'CPU of that: main thread, the journal’s, V8’s',
      `${perRun(cpu.main - cpuBefore.main)}, ${perRun(cpu.busiest)}, ${perRun(cpu.all - cpu.main - cpu.busiest - cpuBefore.all + cpuBefore.main)}`,
      '–',
      '',
    ],
    ...rows,
  ],
)}`,
);
