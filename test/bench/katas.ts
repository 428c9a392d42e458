// What a kata's commits cost: `npm run bench:katas [-- --write]` on the engine that DOCKER_HOST names.
import { mkdtemp, rm } from 'node:fs/promises';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { type RunRequest, Katafleet } from '../../src/app/library.ts';
import { Katas } from '../../src/katas/store.ts';
import { created, file, result, startPoint } from '../support/katas.ts';
import { machine, publish, table, today } from './report.ts';
import { summarise, time } from './statistics.ts';

const rounds = Number(process.env['BENCH_ROUNDS'] ?? 100);
const endpoint = process.env['DOCKER_HOST'] ?? 'unix:///var/run/docker.sock';
const rows: string[][] = [];
const ms = (value: number) => `${value.toFixed(value < 20 ? 2 : 0)} ms`;
const shown = (values: number[]) => {
  const { median, p95, n } = summarise(values);
  return `${ms(median)}, p95 ${ms(p95)} (n=${n})`;
};
const row = (what: string, measured: string, target = '–', reached?: boolean) => {
  rows.push([what, measured, target, reached === undefined ? '' : reached ? 'yes' : '**no**']);
  process.stderr.write(`${what}: ${measured} (${target})\n`);
};

const script = 'for i in 1 2 3; do echo made > made$i; done';
const filesOf = (round: number) => [
  file('cyber-dojo.sh', script),
  ...Array.from({ length: 10 }, (_, index) => file(`file${index}`, `content ${index} ${index === 0 ? round : ''}\n`.repeat(20))),
];

const folder = await mkdtemp(join(process.env['BENCH_FOLDER'] ?? tmpdir(), 'katafleet-bench-'));
await using fleet = new Katafleet({ endpoint });
const point = { ...startPoint(), manifest: { ...startPoint().manifest, image_name: 'build-essential' } };
const limits = { filesBack: 2_000, fileBack: 8 * 1024 * 1024, bytesBack: 32 * 1024 * 1024, wallMs: 7_000 };

/** The same run with and without a kata around it, in turns. */
async function besideRuns(): Promise<void> {
  let ranMs = 0;
  await using katas = new Katas({
    folder,
    run: async (request, { onOutput }) => {
      const begun = performance.now();
      const got = await fleet.run(request, onOutput ? { onOutput } : {});
      ranMs = performance.now() - begun;
      return got;
    },
    trouble: (text) => process.stderr.write(`${text}\n`),
  });
  const { id } = await katas.create(point);
  const [alone, tested, own, afterwards]: [number[], number[], number[], number[]] = [[], [], [], []];
  for (let round = 0; round < rounds + 5; round += 1) {
    const files = filesOf(round);
    const request: RunRequest = { image: 'build-essential', files, steps: [{ argv: ['bash', './cyber-dojo.sh'] }], profile: limits };
    await fleet.warm('build-essential', 2);
    const bare = await time(() => fleet.run(request));
    await fleet.warm('build-essential', 2);
    const begun = performance.now();
    const { committed } = await katas.test(id, 'lion', { files });
    const answered = performance.now();
    await committed;
    if (round < 5) continue; // V8 and the caches warm up
    alone.push(bare);
    tested.push(answered - begun);
    own.push(answered - begun - ranMs);
    afterwards.push(performance.now() - answered);
  }
  const added = summarise(own);
  const disk = summarise(afterwards);
  row('a warm run over 11 files, 3 made', shown(alone));
  row('the same as a test of a kata', shown(tested));
  row('what the kata adds to the answer', shown(own), '≤ 2 ms', added.median <= 2);
  row('both commits on disk after the answer', shown(afterwards), '≤ 100 ms, p95 too', disk.p95 <= 100);
}

/** No sandbox: what the store alone can do. */
async function alone(): Promise<void> {
  await using katas = new Katas({
    folder,
    run: () => Promise.resolve(result({ files: [created('made')] })),
    trouble: (text) => process.stderr.write(`${text}\n`),
  });
  const { id } = await katas.create(startPoint());
  const names = Array.from({ length: 200 }, (_, index) => `avatar-${index}`);
  for (const turn of ['first', 'second'] as const) {
    let answeredMs = 0;
    const wholeMs = await time(async () => {
      const begun = performance.now();
      const tests = await Promise.all(names.map((name) => katas.test(id, name, { files: filesOf(turn === 'first' ? 1 : 2) })));
      answeredMs = performance.now() - begun;
      await Promise.all(tests.map(({ committed }) => committed));
    });
    row(
      `200 avatars at once, their ${turn} test: all answered; all on disk`,
      `${ms(answeredMs)}; ${ms(wholeMs)} (${(200_000 / wholeMs).toFixed(0)} tests a second)`,
    );
  }
}

try {
  await besideRuns();
  await alone();
} finally {
  await rm(folder, { recursive: true });
}
const node = await fleet.driver.probe();
await publish(
  'katas',
  `Made by \`npm run bench:katas -- --write\` (${today()}): a test of a kata beside the same run without one. Medians; the 95th
percentile beside them.

Machine: ${machine()}, Linux ${node.kernel}, Docker ${node.engineVersion}, load ${(loadavg()[0] ?? 0).toFixed(1)} at the end.

${table(['what', 'median', 'target', 'reached'], rows)}`,
);
