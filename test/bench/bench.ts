// The first table of docs/performance.md, all in one run: `npm run bench [-- --write]` on the engine that DOCKER_HOST names.
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { sandboxLimits, profileOf } from '../../src/model/profile.ts';
import { formatBytes } from '../../src/model/quantity.ts';
import { createOptions } from '../../src/drivers/engine/options.ts';
import { parseApiVersion } from '../../src/drivers/docker/version.ts';
import { supervisorFile } from '../../src/drivers/docker/supervisor.ts';
import { Katafleet, type RunRequest } from '../../src/app/library.ts';
import { machine, publish, table, today } from './report.ts';
import { rate, summarise, time } from './statistics.ts';

const image = 'build-essential';
const rounds = Number(process.env['BENCH_ROUNDS'] ?? 60);
const parallel = 4;
const exec = promisify(execFile);
const endpoint = process.env['DOCKER_HOST'] ?? 'unix:///var/run/docker.sock';
const files = Array.from({ length: 10 }, (_, index) => ({
  path: `file${index}`,
  mode: 0o644,
  mtimeNs: 0n,
  content: Buffer.from(`content ${index}\n`.repeat(20)),
}));
const request: RunRequest = { image, files, steps: [{ argv: ['true'] }] };
const say = (text: string) => process.stderr.write(`${text}\n`);

interface Row {
  what: string;
  measured: string;
  target: string;
  reached: boolean;
}
const rows: Row[] = [];
const row = (what: string, measured: string, target: string, reached: boolean) => {
  rows.push({ what, measured, target, reached });
  say(`${reached ? '✓' : '✗'} ${what}: ${measured} (${target})`);
};
const ms = (value: number) => `${value.toFixed(value < 20 ? 2 : 0)} ms`;
const shown = (values: number[]) => {
  const { median, p95, n } = summarise(values);
  return `${ms(median)}, p95 ${ms(p95)} (n=${n})`;
};

const hostSpawn = async () => {
  const child = spawn('true', [], { stdio: 'ignore' });
  await once(child, 'close');
};

await using fleet = new Katafleet({ endpoint });
await fleet.open();
const node = await fleet.driver.probe();
const docker = await fleet.driver.client();
const prepared = await fleet.driver.prepare(image);

/** As many idle sandboxes, and nothing else under way: what served before has been removed. */
async function idle(pooled: Katafleet, count: number): Promise<void> {
  await pooled.warm(image, count);
  while ((await pooled.driver.list()).length > count) await new Promise((resolve) => setTimeout(resolve, 10));
}

async function latency(): Promise<void> {
  const spawned: number[] = [];
  const warm: number[] = [];
  const classic: number[] = [];
  const cold: number[] = [];
  await using pooled = new Katafleet({ endpoint });
  for (let round = 0; round < rounds + 5; round += 1) {
    await idle(pooled, 2);
    const one = [await time(hostSpawn), await time(() => pooled.run(request))] as const;
    if (round < 5) continue; // V8 and the caches warm up
    spawned.push(one[0]);
    warm.push(one[1]);
  }
  await pooled.warm(image, 0);
  for (let round = 0; round < rounds; round += 1) {
    classic.push(
      await time(() => exec('docker', ['-H', endpoint, 'run', '--rm', '--network', 'none', '--entrypoint', 'true', prepared.id])),
    );
    cold.push(await time(() => fleet.run(request)));
  }
  const [s, w, d, c] = [spawned, warm, classic, cold].map((values) => summarise(values).median) as [number, number, number, number];
  row('`true` spawned on the host', shown(spawned), '–', true);
  row('warm run of `true` over 10 files', shown(warm), '–', true);
  row('warm run above the host’s spawn', ms(w - s), '≤ 5 ms', w - s <= 5);
  row('`docker run --rm --network none IMAGE true`', shown(classic), '–', true);
  // Over the whole warm run, not its overhead: that can be next to nothing, and a ratio to it would say nothing.
  row('its overhead over the whole warm run', `${((d - s) / w).toFixed(0)} ×`, '≥ 40 ×', (d - s) / w >= 40);
  row('cold run', shown(cold), '–', true);
  row('cold run over `docker run`', `${(c / d).toFixed(2)} ×`, '≤ 1 ×', c <= d);
}

async function throughput(): Promise<void> {
  const spec = { name: 'bare', image: prepared, limits: sandboxLimits(profileOf()), idleMs: 60_000, labels: { 'katafleet.bench': 'bare' } };
  const options = {
    ...createOptions(spec, parseApiVersion(node.apiVersion)),
    Entrypoint: ['true'],
    OpenStdin: false,
    StdinOnce: false,
    AttachStdin: false,
  };
  const bare = async () => {
    const container = await docker.createContainer(options);
    await container.start();
    await container.wait();
    await container.remove({ v: true });
  };
  await using runner = new Katafleet({ endpoint, startParallelism: parallel });
  await runner.open();
  const [loops, runs]: [number[], number[]] = [[], []];
  for (let round = 0; round < 3; round += 1) {
    loops.push(await rate(rounds, parallel, bare));
    runs.push(await rate(rounds, parallel, () => runner.run(request)));
  }
  const [b, r] = [summarise(loops).median, summarise(runs).median];
  row('bare create/start/wait/remove, 4 at a time', `${b.toFixed(1)} a second (3 × ${rounds})`, '–', true);
  row('runs in fresh sandboxes, 4 at a time', `${r.toFixed(1)} a second (3 × ${rounds})`, '–', true);
  row('runs over the bare loop', `${((100 * r) / b).toFixed(0)} %`, '≥ 90 %', r / b >= 0.9);
}

async function supervisor(): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'katafleet-bench-'));
  const ready: number[] = [];
  const resident: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    const begun = performance.now();
    const child = spawn(supervisorFile(node.architecture === 'arm64' ? 'arm64' : 'amd64'), ['--sandbox', folder], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    await once(child.stdout, 'data');
    ready.push(performance.now() - begun);
    const status = await readFile(`/proc/${child.pid}/status`, 'utf8');
    resident.push(Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) * 1024);
    child.stdin.end();
    await once(child, 'close');
  }
  await rm(folder, { recursive: true });
  row('supervisor: fork, exec and greeting', shown(ready), '≤ 5 ms', summarise(ready).median <= 5);
  row('supervisor: resident while idle', formatBytes(summarise(resident).p95), '≤ 1 MiB', summarise(resident).p95 <= 1024 * 1024);
}

async function manyIdle(): Promise<void> {
  const program = fileURLToPath(new URL('memory.ts', import.meta.url));
  const { stdout } = await exec(process.execPath, ['--expose-gc', '--import', 'tsx', program, endpoint, image, '200'], {
    timeout: 300_000,
  });
  row('katafleet: resident with 200 idle sandboxes', formatBytes(Number(stdout)), '≤ 150 MB', Number(stdout) <= 150e6);
}

async function hostileOutput(): Promise<void> {
  await using pooled = new Katafleet({ endpoint });
  await pooled.warm(image, 3);
  const script = `perl -e '$| = 1; print chr(128 + rand 128) for 1..400000'; head -c 64000000 /dev/urandom | tr -d '\\n'`;
  const alone: number[] = [];
  for (let round = 0; round < 10; round += 1) {
    await idle(pooled, 3);
    alone.push(await time(() => pooled.run(request)));
  }
  const before = process.memoryUsage().rss;
  let peak = before;
  const watch = setInterval(() => (peak = Math.max(peak, process.memoryUsage().rss)), 5);
  const beside: number[] = [];
  for (let round = 0; round < 5; round += 1) {
    await pooled.warm(image, 3);
    const flood = pooled.run({ ...request, steps: [{ argv: ['bash', '-c', script] }], profile: { wallMs: 60_000 } });
    beside.push(await time(() => pooled.run(request)));
    const { steps } = await flood;
    if ((steps[0]?.stdoutBytes ?? 0) < 60_000_000) throw new Error('the flood did not come through');
  }
  clearInterval(watch);
  row('64 MB of hostile output: growth of katafleet', formatBytes(peak - before), '≤ 64 MiB', peak - before <= 64 * 1024 * 1024);
  row('a warm run beside it, and alone', `${ms(summarise(beside).median)}, ${ms(summarise(alone).median)}`, 'is served', true);
}

for (const part of [latency, supervisor, throughput, hostileOutput, manyIdle]) await part();

await publish(
  'runs',
  `Made by \`npm run bench -- --write\` (${today()}). Medians; the 95th percentile beside them.

Machine: ${machine()}, Linux ${node.kernel}, Docker ${node.engineVersion} (API ${node.apiVersion}), cgroup v${node.cgroupVersion}.

${table(
  ['what', 'median', 'target', 'reached'],
  rows.map(({ what, measured, target, reached }) => [what, measured, target, target === '–' ? '' : reached ? 'yes' : '**no**']),
)}`,
);
