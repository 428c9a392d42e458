// What a folder costs by rsync and by the stream: `npm run bench:rsync [-- --write]`, as root, on the engine that DOCKER_HOST
// names; the sandboxes' network is the machine's own, so that nothing of Docker's networking is measured.
import { mkdir, rm, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { readFolder } from '../../src/cli/files/folder.ts';
import { formatBytes } from '../../src/model/quantity.ts';
import type { Katafleet, RunRequest, RunResult } from '../../src/app/library.ts';
import { RsyncGround } from '../support/rsync.ts';
import { seeded } from '../support/random.ts';
import { machine, publish, table, today } from './report.ts';
import { summarise } from './statistics.ts';

const rounds = Number(process.env['BENCH_ROUNDS'] ?? 9);
const MB = 1_000_000;
/** Files, bytes of them all, and how many of them the run changes. The last is the figure that is asked for. */
const sizes = [
  { files: 10, bytes: 0.02 * MB, changed: 5 },
  { files: 100, bytes: MB, changed: 10 },
  { files: 500, bytes: 5 * MB, changed: 50 },
  { files: 1_000, bytes: 10 * MB, changed: 100 },
  { files: 2_500, bytes: 25 * MB, changed: 100 },
  { files: 5_000, bytes: 50 * MB, changed: 100 },
  { files: 10, bytes: 50 * MB, changed: 5 },
  { files: 10, bytes: 200 * MB, changed: 5 },
] as const;
type Size = (typeof sizes)[number];

const limits = { memory: 1024 ** 3, fileBack: 64 * 1024 ** 2, bytesBack: 512 * 1024 ** 2, filesBack: 10_000, wallMs: 60_000 };

interface Measured {
  /** From having the sandbox until the changed files are back, ms; reading the folder counted. */
  in: number[];
  back: number[];
  total: number[];
  /** CPU time of katafleet's own process, ms. */
  cpu: number[];
}

async function makeSource(ground: RsyncGround, size: Size): Promise<string> {
  const random = seeded(size.files);
  const path = await ground.source(`${size.files}-${size.bytes}`, {});
  const each = Math.round(size.bytes / size.files);
  for (let index = 0; index < size.files; index += 1) {
    const folder = join(path, `d${index % Math.ceil(size.files / 50)}`);
    await mkdir(folder, { recursive: true });
    const file = join(folder, `f${index}`);
    await writeFile(file, Buffer.from(Array.from({ length: each > 4_096 ? 4_096 : each }, () => Math.floor(random() * 256))));
    if (each > 4_096) await writeFile(file, Buffer.alloc(each, await import('node:fs').then(({ readFileSync }) => readFileSync(file))));
    await utimes(file, 1_600_000_000, 1_600_000_000);
  }
  return path;
}

async function measure(fleet: Katafleet, path: string, size: Size, way: 'stream' | 'rsync', into: Measured | undefined): Promise<void> {
  const script = `for f in $(find . -type f | sort | head -n ${size.changed}); do echo >> $f; done`;
  const request = { image: 'build-essential', steps: [{ argv: ['sh', '-c', script] }], profile: limits };
  const cpu = process.cpuUsage();
  const begun = performance.now();
  const given: RunRequest = way === 'rsync' ? { ...request, files: [], rsync: { path } } : { ...request, ...(await readFolder(path)) };
  const read = performance.now() - begun;
  const result: RunResult = await fleet.run(given);
  const { user, system } = process.cpuUsage(cpu);
  if (result.changes.files.length !== size.changed) throw new Error(`${result.changes.files.length} files came back of ${size.changed}`);
  const { executeMs, collectMs } = result.timings;
  const step = result.steps[0]?.wallMs ?? 0;
  into?.in.push(read + executeMs - step);
  into?.back.push(collectMs);
  into?.total.push(read + executeMs - step + collectMs);
  into?.cpu.push((user + system) / 1_000);
}

const empty = (): Measured => ({ in: [], back: [], total: [], cpu: [] });
const median = (values: readonly number[]) => summarise(values).median;
const ms = (value: number) => value.toFixed(value < 20 ? 1 : 0);

/** Where the lines through neighbouring sizes cross, by the logarithm of the size; undefined where rsync never takes less. */
function crossing(points: readonly { bytes: number; stream: number; rsync: number }[]): number | undefined {
  for (const [index, after] of points.entries()) {
    if (after.rsync > after.stream) continue;
    const before = points[index - 1];
    if (!before) return after.bytes;
    const [a, b] = [before.rsync / before.stream - 1, 1 - after.rsync / after.stream];
    return Math.exp(Math.log(before.bytes) + (a / (a + b)) * (Math.log(after.bytes) - Math.log(before.bytes)));
  }
  return undefined;
}

await using ground = await RsyncGround.make();
const fleet = ground.fleet({ idleMs: 600_000 });
const rows: string[][] = [];
const points: { bytes: number; stream: number; rsync: number; streamCpu: number; rsyncCpu: number }[] = [];
try {
  for (const size of sizes) {
    const path = await makeSource(ground, size);
    const [stream, rsync] = [empty(), empty()];
    for (let round = -1; round < rounds; round += 1) {
      await measure(fleet, path, size, 'stream', round < 0 ? undefined : stream);
      await measure(fleet, path, size, 'rsync', round < 0 ? undefined : rsync);
    }
    await rm(path, { recursive: true });
    for (const [name, measured] of [
      ['the stream', stream],
      ['rsync', rsync],
    ] as const) {
      const { p95 } = summarise(measured.total);
      const what = `${size.files.toLocaleString('en')} files, ${formatBytes(size.bytes)}; ${size.changed} changed`;
      rows.push([
        what,
        name,
        ms(median(measured.in)),
        ms(median(measured.back)),
        `${ms(median(measured.total))}, ${ms(p95)}`,
        ms(median(measured.cpu)),
      ]);
      process.stderr.write(`${rows.at(-1)?.join(' | ') ?? ''}\n`);
    }
    const small = size.bytes / size.files <= 10_000;
    if (small)
      points.push({
        bytes: size.bytes,
        stream: median(stream.total),
        rsync: median(rsync.total),
        streamCpu: median(stream.cpu),
        rsyncCpu: median(rsync.cpu),
      });
  }
} finally {
  await fleet.close();
}
if (ground.troubles.length > 0) throw new Error(`rsync did not serve all of it: ${ground.troubles.join('\n')}`);
const [time, cpu] = [
  crossing(points),
  crossing(points.map(({ bytes, streamCpu, rsyncCpu }) => ({ bytes, stream: streamCpu, rsync: rsyncCpu }))),
];
const last = points.at(-1);
const pays = (at: number | undefined, what: string) =>
  at === undefined
    ? `in ${what} it does not pay up to ${formatBytes(last?.bytes ?? 0)}`
    : `in ${what} it pays from ${formatBytes(Math.round(at))} on`;

await publish(
  'rsync',
  `Made by \`npm run bench:rsync -- --write\` (${today()}). Medians of ${rounds} runs in fresh sandboxes, in ms, the two ways by turns: until the files
lie in the sandbox (for the stream with reading them from the disk), until the changed ones are back, both together with their
95th percentile, and the CPU time of katafleet's own process. The sandbox's start and the command itself are left out.

With files of 10 kB, interpolated between the sizes: ${pays(time, 'time')}; ${pays(cpu, 'CPU time of katafleet')}.

Machine: ${machine()}.

${table(['what', 'by', 'in', 'back', 'both, p95', 'CPU of katafleet'], rows)}`,
);
