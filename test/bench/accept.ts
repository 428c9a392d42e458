// `npm run bench:accept -- [--rate N] [--seconds N] [--scene NAME]…`: how soon `katafleet serve` accepts runs of 1 KB that come at a fixed
// rate, alone and beside other work of its journal. The node is a made-up engine in another process; its memory is taken, so that what
// is accepted waits.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { parseArgs } from 'node:util';
import { fileURLToPath } from 'node:url';
import { KiB, MiB } from '../../src/base/units.ts';
import { compiled } from './load/compiled.ts';
import { httpPost } from './load/connection.ts';
import { fillJournal } from './load/filled-journal.ts';
import { Child, MeasuredServer } from './load/measured-server.ts';
import { OpenLoop } from './load/open-loop.ts';
import { machine, publish, table, today } from './report.ts';
import { type Spread, spreadOf } from './statistics.ts';

const sceneNames = ['nothing else', '1 GB is freed by retention', 'results of 64 MB are written', 'a backup is made'] as const;
type SceneName = (typeof sceneNames)[number];

const { values } = parseArgs({
  options: {
    rate: { type: 'string', default: '2000' },
    seconds: { type: 'string', default: '8' },
    /** A part of a scene's name. */
    scene: { type: 'string', multiple: true, default: [''] },
    durability: { type: 'string' },
    write: { type: 'boolean' },
  },
});
const [rate, seconds] = [Number(values.rate), Number(values.seconds)];
/** Before the measurement: V8 compiles what is hot, and the journal's file grows. */
const warmUpMs = 3_000;
const main = fileURLToPath(new URL('../../dist/main.js', import.meta.url));

const folder = await mkdtemp(join(tmpdir(), 'katafleet-accept-'));
const filled = join(folder, 'filled');
const wanted = sceneNames.filter((name) => values.scene.some((part) => name.includes(part)));

/** The run that fills a body of 1 KB. It waits for a node that is full. */
const parked = {
  image: 'any',
  command: ['hold'],
  profile: 'whole',
  constraints: ['park==yes'],
  queueMs: 3_600_000,
  files: { 'main.c': 'x'.repeat(850) },
};
const big = { image: 'any', command: ['work', '0', '4', String(16 * MiB)], profile: 'big', constraints: ['park==no'] };

/** What a scene does beside the load until it is told to stop; returns how often it has done it. */
const scenes: Record<SceneName, (server: MeasuredServer, home: string, over: () => boolean) => Promise<string>> = {
  'nothing else': async () => '',
  '1 GB is freed by retention': async ({ url }) => {
    const begun = performance.now();
    const answer = await fetch(`${url}/v1/maintenance/retention`, { method: 'POST', signal: AbortSignal.timeout(600_000) });
    const { detail } = (await answer.json()) as { detail?: string };
    return `${detail ?? answer.status} in ${((performance.now() - begun) / 1_000).toFixed(1)} s`;
  },
  'results of 64 MB are written': async ({ url }, _home, over) => {
    let count = 0;
    for (; !over(); count += 1) {
      const answer = await fetch(`${url}/v1/runs?wait=600`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(big),
        signal: AbortSignal.timeout(600_000),
      });
      let bytes = 0;
      for await (const chunk of answer.body ?? []) bytes += (chunk as Uint8Array).length;
      assert.ok(answer.status === 201 && bytes > 64 * MiB, `the server answered ${answer.status} with ${bytes} bytes`);
    }
    return `${count} of them, each read by a client`;
  },
  'a backup is made': async (_server, home, over) => {
    let count = 0;
    for (; !over(); count += 1) {
      const copy = spawn('cp', ['-r', join(home, 'journal'), join(folder, 'backup')]);
      const [code] = (await once(copy, 'exit')) as [number];
      assert.ok(code === 0 || code === 1, `cp ended with ${code}`); // 1: a file was unlinked meanwhile
      await rm(join(folder, 'backup'), { recursive: true, force: true });
    }
    return `1 GB copied ${count} times by cp`;
  },
};

interface Measured {
  name: SceneName;
  did: string;
  perSecond: number;
  due: Spread;
  read: Spread;
  delay: Spread;
  client: { cpu: number; late: number };
  server: { main: number; others: number };
}

async function measure(name: SceneName): Promise<Measured> {
  const engine = await compiled('fake-engine');
  const home = join(folder, 'home');
  await mkdir(join(home, 'journal'), { recursive: true });
  const socket = (node: string) => join(home, `engine-of-${node}`);
  await using _full = await Child.start([engine, socket('full')]);
  await using _other = await Child.start([engine, socket('other')]);
  if (/freed|backup/.test(name)) await cp(filled, join(home, 'journal'), { recursive: true });
  const node = (name: string, park: string) => ({ name, endpoint: `unix://${socket(name)}`, labels: { park }, memory: { reserve: '0%' } });
  const config = {
    nodes: [node('full', 'yes'), node('other', 'no')],
    profiles: { whole: { memory: '600g' }, big: { memory: '512m', fileBack: '16m', bytesBack: '64m' } },
    journal: {
      file: 'journal/journal.db',
      keepBytes: '64g',
      ...(values.durability === undefined ? {} : { durability: values.durability }),
    },
    queue: { runs: 1_000_000, perTenant: 1_000_000, bytes: '1g' },
    schedules: { retention: 'off' },
  };
  await using server = await MeasuredServer.start(config, (file) => [main, '--config', file, 'serve'], { folder: home });
  using load = await OpenLoop.open(server.url, 128, (status) => status === 202);
  const request = httpPost(server.url, '/v1/runs', parked);
  assert.ok(Math.abs(request.length - 1.2 * KiB) < 200, `a request has ${request.length} bytes`);
  await load.run(rate, warmUpMs, () => request);
  await server.figures();
  const own = monitorEventLoopDelay({ resolution: 1 });
  own.enable();
  const before = { server: server.cpu(), own: process.cpuUsage() };
  let over = false;
  const beside = scenes[name](server, home, () => over);
  beside.catch(() => undefined);
  const begun = performance.now();
  const { latencies, failures } = await load.run(rate, seconds * 1_000, () => request);
  const wall = performance.now() - begun; // longer than the time of the load if the server did not keep up
  over = true;
  const figures = await server.figures();
  const after = server.cpu();
  const { user, system } = process.cpuUsage(before.own);
  own.disable();
  const did = await beside;
  if (failures.length > 0) assert.fail(`${failures.length} requests were not accepted: ${failures[0]}`);
  return {
    name,
    did,
    perSecond: latencies.length / (wall / 1_000),
    due: spreadOf(latencies),
    read: figures.accept,
    delay: figures.delay,
    client: { cpu: (user + system) / 1_000 / wall, late: own.percentile(99) / 1e6 - 1 },
    server: {
      main: (after.main - before.server.main) / wall,
      others: (after.all - after.main - before.server.all + before.server.main) / wall,
    },
  };
}

const rows: string[][] = [];
const ms = (value: number) => value.toFixed(value < 10 ? 2 : 0);
const reached = (...holds: boolean[]) => (holds.every(Boolean) ? 'yes' : '**no**');
try {
  if (wanted.some((name) => /freed|backup/.test(name))) {
    process.stderr.write('filling a journal with 1 GB\n');
    await mkdir(filled);
    await fillJournal(join(filled, 'journal.db'), { runs: 1_024, files: 16, fileBytes: 64 * KiB });
  }
  for (const name of wanted) {
    process.stderr.write(`${name}\n`);
    const { did, perSecond, due, read, delay, client, server } = await measure(name);
    const percent = (share: number) => `${(100 * share).toFixed(0)} %`;
    rows.push([
      did === '' ? name : `${name} (${did})`,
      perSecond.toFixed(0),
      `${ms(read.median)}, ${ms(read.p95)}, ${ms(read.p99)}, ${ms(read.most)}`,
      `${ms(due.median)}, ${ms(due.p95)}, ${ms(due.p99)}, ${ms(due.most)}`,
      `${ms(delay.median)}, ${ms(delay.p99)}, ${ms(delay.most)}`,
      `${percent(server.main)}, ${percent(server.others)}; ${percent(client.cpu)}`,
      ms(client.late),
      reached(read.median <= 2, read.p99 <= 25, delay.p99 <= 10, perSecond >= 0.98 * rate),
    ]);
    process.stderr.write(`  ${rows.at(-1)?.join(' | ')}\n`);
    await rm(join(folder, 'home'), { recursive: true, force: true });
  }
} finally {
  await rm(folder, { recursive: true, force: true });
}
await publish(
  'accept',
  `Made by \`npm run bench:accept -- --write\` (${today()}): POST /v1/runs with 1 KB at ${rate.toLocaleString('en')} a second for ${seconds} s, whether the server keeps up or
not, after ${warmUpMs / 1_000} s of the same. Times in ms: p50, p95, p99, most. Targets: from the request read to the 202 handed to the kernel
p50 ≤ 2 ms and p99 ≤ 25 ms; the event loop's delay p99 ≤ 10 ms; no request left behind.

Machine: ${machine()}.

${table(
  [
    'beside it',
    'accepted a second',
    'request read → 202',
    'due at the client → 202 there',
    'event loop’s delay: p50, p99, most',
    'CPU of the server’s main thread, of its others; of the client',
    'the client’s own delay, p99',
    'reached',
  ],
  rows,
)}`,
);
