// What a session saves: `npm run bench:sessions [-- --write]` on the engine that DOCKER_HOST names.
import { Katafleet, type RunRequest } from '../../src/app/library.ts';
import { publish, today } from './report.ts';
import { rate, summarise, time } from './statistics.ts';

const rounds = Number(process.env['BENCH_ROUNDS'] ?? 20);
const sources = 20;
const [leastGain, leastRate] = [5, 150];
const endpoint = process.env['DOCKER_HOST'] ?? 'unix:///var/run/docker.sock';
const ms = (values: number[]) => {
  const { median, p95, n } = summarise(values);
  return `${median.toFixed(1)} ms, p95 ${p95.toFixed(1)} ms (n=${n})`;
};

/** A C program of 20 files with some weight in each, as a person has it after so many edits of one of them. */
function project(edits: number): RunRequest['files'] {
  const text = (path: string, content: string, mtimeMs: number) => ({
    path,
    mode: 0o644,
    mtimeNs: BigInt(mtimeMs) * 1_000_000n,
    content: Buffer.from(content),
  });
  const headers = '#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n#include <math.h>\n#include <time.h>\n';
  const body = (name: string, salt: number) =>
    Array.from({ length: 20 }, (_, at) => `int ${name}_${at}(int x) { return snprintf(NULL, 0, "%d", x * ${at + salt}) + abs(x); }\n`).join(
      '',
    );
  const begun = 1_700_000_000_000;
  const files = Array.from({ length: sources - 1 }, (_, at) => {
    const edited = at === 0 && edits > 0;
    return text(`part${at}.c`, headers + body(`part${at}`, edited ? edits : 0), edited ? Date.now() : begun);
  });
  return [
    text('main.c', `${headers}int part0_0(int);\nint main(void) { printf("%d\\n", part0_0(7)); return 0; }\n`, begun),
    ...files,
    text(
      'makefile',
      `main: $(patsubst %.c,%.o,$(wildcard *.c))\n\t$(CC) -o $@ $^\n%.o: %.c\n\t$(CC) -O1 -c $< -o $@\ntest: main\n\t./main\n`,
      begun,
    ),
  ];
}

await using fleet = new Katafleet({ endpoint });
await fleet.open();
await fleet.warm('build-essential', 2);
const build = (edits: number, session?: string) =>
  fleet.run({
    image: 'build-essential',
    files: project(edits),
    steps: [{ argv: ['make', '-s', 'test'] }],
    ...(session === undefined ? {} : { session }),
  });

const [fresh, incremental, unchanged]: [number[], number[], number[]] = [[], [], []];
await build(0, 'bench');
for (let round = 1; round <= rounds; round += 1) {
  fresh.push(await time(() => build(round)));
  incremental.push(await time(() => build(round, 'bench')));
  unchanged.push(await time(() => build(round, 'bench')));
}
const gain = summarise(fresh).median / summarise(incremental).median;

/** One client that keeps several sessions busy with what costs nothing. */
async function trivial(parallel: number): Promise<number> {
  let next = 0;
  const free = Array.from({ length: parallel }, (_, at) => `trivial${at}`);
  const run = async () => {
    const session = free.pop() ?? `more${(next += 1)}`;
    await fleet.run({ image: 'build-essential', files: [], steps: [{ argv: ['true'] }], session });
    free.push(session);
  };
  await rate(parallel * 4, parallel, run);
  return rate(rounds * 50, parallel, run);
}
const rates = await Promise.all([4].map(trivial));
const [perSecond = 0] = rates;

await publish(
  'sessions',
  `Made by \`npm run bench:sessions -- --write\` (${today()}). A C program of ${sources} files, built by make: in a fresh (warm) sandbox, and in
a session of its own after one file was edited.

| what | median | target | reached |
|---|---|---|---|
| make of everything, fresh sandbox | ${ms(fresh)} | – | |
| make after one edit, session | ${ms(incremental)} | – | |
| make after no edit, session | ${ms(unchanged)} | – | |
| fresh over one edit | ${gain.toFixed(1)} × | ≥ ${leastGain} × | ${gain >= leastGain ? 'yes' : 'no'} |
| \`true\`, one client over 4 sessions | ${perSecond.toFixed(0)} a second | ≥ ${leastRate} a second | ${perSecond >= leastRate ? 'yes' : 'no'} |
`,
);
