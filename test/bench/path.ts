// `npm run bench:path -- [--runs N] [--clients N] [--profile FOLDER] [--node FLAG]…`: runs over HTTP, queue, journal, a node and the supervisor's protocol
// to a supervisor that runs nothing, and back. No engine is needed. --profile writes a CPU profile of the server into a folder.
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Connection, httpPost } from './load/connection.ts';
import { compiled } from './load/compiled.ts';
import type { Figures } from './load/meter.ts';
import { Child, cpuOf, descriptorsOf, MeasuredServer } from './load/measured-server.ts';
import { machine, publish, table, today } from './report.ts';
import { slopeOf, spreadOf } from './statistics.ts';

const { values } = parseArgs({
  options: {
    runs: { type: 'string', default: '50000' },
    clients: { type: 'string', default: '48' },
    profile: { type: 'string' },
    node: { type: 'string', multiple: true, default: [] },
    write: { type: 'boolean' },
  },
});
const [runs, clients] = [Number(values.runs), Number(values.clients)];
/** Runs before the first measurement: by then V8 has compiled what is hot, and each connection has been used. */
const warmUp = Math.min(10_000, runs);
/** How often the heap is looked at. Each look collects it, after which V8 compiles some of the hot code anew. */
const looks = 10;

const folder = await mkdtemp(join(tmpdir(), 'katafleet-path-'));
const socket = join(folder, 'supervisors');
await using supervisors = await Child.start([await compiled('supervisors'), socket]);
const entry = await compiled('path-server');
await using server = await MeasuredServer.start(
  {
    nodes: [{ name: 'socket', endpoint: 'unix:///socket', memory: { reserve: '0%' }, starts: 64 }],
    pools: [{ image: 'any', profile: 'small', idle: { min: 64, max: 64 } }],
    profiles: { small: { memory: '64m' } },
    journal: { file: 'journal.db', keepBytes: '256m' },
  },
  (config) => [entry, config, socket],
  {
    node: [
      ...values.node,
      ...(values.profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${values.profile}`, '--cpu-prof-interval=500']),
    ],
  },
);

const files = Array.from({ length: 10 }, (_, at) => ({ path: `src/file-${at}.c`, content: `/* line of a file ${at} */\n`.repeat(40) }));
const request = httpPost(server.url, '/v1/runs?wait=60', {
  image: 'any',
  files,
  command: ['work', '4096', '2', '1024'],
  profile: 'small',
  tenant: 'bench',
});

const connections = await Promise.all(Array.from({ length: clients }, () => Connection.open(server.url)));
/** Makes runs, each client one after another. Returns how long each took, ms. */
async function make(count: number): Promise<number[]> {
  let left = count;
  const times: number[] = [];
  await Promise.all(
    connections.map(async (connection) => {
      while (left > 0) {
        left -= 1;
        const begun = performance.now();
        const { status, body } = await connection.send(request);
        times.push(performance.now() - begun);
        if (status !== 201 || !body.includes('"state":"finished"')) assert.fail(`the server answered ${status}: ${body.slice(0, 500)}`);
      }
    }),
  );
  return times;
}

process.stderr.write('warming up\n');
await make(warmUp);
await server.figures();
const descriptors = descriptorsOf(server.child.pid);
/** CPU time of each process so far, ms. */
const cpuNow = () => {
  const { all, main, busiest } = server.cpu();
  const { user, system } = process.cpuUsage();
  return {
    main,
    journal: busiest,
    others: all - main - busiest,
    supervisors: cpuOf(supervisors.pid).all,
    clients: (user + system) / 1_000,
  };
};
/** CPU time while runs were made, without the collections in between, ms. */
const cpu = { main: 0, journal: 0, others: 0, supervisors: 0, clients: 0 };
const held: [runs: number, heap: number][] = [];
const outside: [runs: number, bytes: number][] = [];
const times: number[] = [];
const late: Figures['delay'][] = [];
const collected = { young: 0, whole: 0, ms: 0 };
let spent = 0;
let rss = 0;
for (let look = 0; look <= looks; look += 1) {
  if (look > 0) {
    const begun = performance.now();
    await server.figures();
    const before = cpuNow();
    for (const one of await make(Math.ceil(runs / looks))) times.push(one);
    spent += performance.now() - begun;
    const after = cpuNow();
    const { delay, collections } = await server.figures();
    late.push(delay);
    collected.young += collections.young.count;
    collected.whole += collections.whole.count;
    collected.ms += collections.young.ms + collections.whole.ms;
    for (const name of Object.keys(cpu) as (keyof typeof cpu)[]) cpu[name] += after[name] - before[name];
  }
  const now = await server.held();
  held.push([look * Math.ceil(runs / looks), now.heap]);
  outside.push([look * Math.ceil(runs / looks), now.external]);
  rss = now.rss;
  process.stderr.write(
    `${held.at(-1)?.[0]} runs: heap ${Math.round(now.heap / 1024)} KiB, ${Math.round(times.length / (spent / 1000))} runs/s\n`,
  );
}
const made = times.length;
const perRun = (ms: number) => `${(ms / made).toFixed(2)} ms`;
const { median, p95, p99, most } = spreadOf(times);
const aSecond = made / (spent / 1000);
const half = held.slice(Math.floor(held.length / 2));
const slope = slopeOf(half);
for (const connection of connections) connection.close();
const middle = (of: (delay: Figures['delay']) => number) => spreadOf(late.map(of)).median;
const ms = (value: number) => value.toFixed(value < 10 ? 2 : 0);
await publish(
  'path',
  `Made by \`npm run bench:path -- --runs ${runs} --write\` (${today()}): ${made.toLocaleString('en')} runs by ${clients} clients that each wait for the end of theirs. 10 files of 1 KB in, 2 of
1 KB out, 4 KB of output. The supervisor runs nothing; it is another process, behind a unix socket.

Machine: ${machine()}.

${table(
  ['what', 'measured', 'target', 'reached'],
  [
    ['runs a second', aSecond.toFixed(0), '≥ 1,000', aSecond >= 1_000 ? 'yes' : '**no**'],
    ['time of a run: p50, p95, p99, most', `${ms(median)}, ${ms(p95)}, ${ms(p99)}, ${ms(most)} ms`, '–', ''],
    ['CPU of a run: the server’s main thread', perRun(cpu.main), '≤ 1 ms', cpu.main / made <= 1 ? 'yes' : '**no**'],
    ['the journal’s thread', perRun(cpu.journal), '–', ''],
    ['the server’s other threads: V8’s collector and compiler', perRun(cpu.others), '–', ''],
    ['the supervisors’ process', perRun(cpu.supervisors), '–', ''],
    ['the clients’ process', perRun(cpu.clients), '–', ''],
    [
      'the event loop’s delay: p50, p99 of the median tenth; most',
      `${ms(middle((one) => one.median))}, ${ms(middle((one) => one.p99))}; ${ms(Math.max(...late.map((one) => one.most)))} ms`,
      '–',
      '',
    ],
    [
      'collections of the young heap, of the whole; time of both',
      `${collected.young}, ${collected.whole}; ${perRun(collected.ms)} a run`,
      '–',
      '',
    ],
    ['heap after a collection: first, last', `${(held[0]?.[1] ?? 0) >> 10}, ${(held.at(-1)?.[1] ?? 0) >> 10} KiB`, '–', ''],
    ['its slope over the second half', `${slope.toFixed(1)} bytes a run`, 'flat: ≤ 1', slope <= 1 ? 'yes' : '**no**'],
    ['slope of bytes outside the heap', `${slopeOf(outside.slice(Math.floor(outside.length / 2))).toFixed(1)} bytes a run`, '–', ''],
    ['resident at the end', `${rss >> 20} MiB`, '–', ''],
    ['open descriptors: before, after', `${descriptors}, ${descriptorsOf(server.child.pid)}`, 'as before', ''],
  ],
)}`,
);
await rm(folder, { recursive: true });
