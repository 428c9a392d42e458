// The command line's own time, in docs/performance.md: `npm run bench:cli [-- --write]` after a build, on the engine that
// DOCKER_HOST names. All kinds take turns, so that what else the machine does meets them alike.
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { machine, publish, table, today } from './report.ts';
import { summarise } from './statistics.ts';

const exec = promisify(execFile);
const main = fileURLToPath(new URL('../../dist/main.js', import.meta.url));
const rounds = Number(process.env['BENCH_ROUNDS'] ?? 30);
const folder = await mkdtemp(join(tmpdir(), 'katafleet-bench-'));
await writeFile(join(folder, 'a.txt'), 'a\n');

/** Wall time of a node process, ms. */
async function took(...args: string[]): Promise<number> {
  const begun = performance.now();
  const child = spawn(process.execPath, args, { stdio: 'ignore' });
  const [code] = (await once(child, 'close')) as [number];
  if (code !== 0) throw new Error(`${args.join(' ')} exited with ${code}`);
  return performance.now() - begun;
}

/** What `katafleet run` of `true` without an idle sandbox takes beyond the run itself: from the process's start to its end. */
async function beyondTheRun(): Promise<number> {
  const begun = performance.now();
  const { stdout } = await exec(process.execPath, [main, 'run', '--json', folder, '--', 'true']);
  const whole = performance.now() - begun;
  return whole - (JSON.parse(stdout) as { timings: { totalMs: number } }).timings.totalMs;
}

const times = { node: [] as number[], version: [] as number[], help: [] as number[], run: [] as number[] };
try {
  for (let round = 0; round < rounds; round += 1) {
    times.node.push(await took('-e', '0'));
    times.version.push(await took(main, '--version'));
    times.help.push(await took(main, 'help'));
    times.run.push(await beyondTheRun());
  }
} finally {
  await rm(folder, { recursive: true });
}

const shown = (values: number[]) => {
  const { median, p95, n } = summarise(values);
  return `${median.toFixed(0)} ms, p95 ${p95.toFixed(0)} (n=${n})`;
};
const node = summarise(times.node).median;
const ratio = (values: number[]) => summarise(values).median / node;
const verdict = (reached: boolean) => (reached ? 'yes' : 'no');
const rows = [
  ['`node -e 0`', shown(times.node), '', ''],
  ...(['version', 'help'] as const).map((what) => [
    `\`katafleet ${what === 'version' ? '--version' : what}\``,
    `${shown(times[what])}: ${ratio(times[what]).toFixed(2)} ×`,
    '≤ 1.5 × `node -e 0`',
    verdict(ratio(times[what]) <= 1.5),
  ]),
  [
    '`katafleet run` of `true`, beyond its run in a cold sandbox',
    shown(times.run),
    '≤ 150 ms',
    verdict(summarise(times.run).median <= 150),
  ],
];
await publish(
  'cli',
  `${table(['what', 'measured', 'target', 'reached'], rows)}\n\n${today()}, ${machine()}; \`npm run bench:cli -- --write\`.`,
);
