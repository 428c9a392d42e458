// What a run costs on a node that is reached by ssh: `npm run bench:ssh [-- --write]`. Brings up two hosts of
// scripts/testbed, with the images of the engine whose folder KATAFLEET_TEST_ENGINE names.
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { promisify } from 'node:util';
import type { Katafleet, RunRequest } from '../../src/app/library.ts';
import { sshFleet, sshNode } from '../support/ssh-fleet.ts';
import { Testbed } from '../support/testbed.ts';
import { machine, publish, table, today } from './report.ts';
import { summarise, time } from './statistics.ts';

const image = 'build-essential';
const rounds = Number(process.env['BENCH_ROUNDS'] ?? 40);
const warmUp = 5;
const targetMs = 15;
const exec = promisify(execFile);
const files = Array.from({ length: 10 }, (_, index) => ({
  path: `file${index}`,
  mode: 0o644,
  mtimeNs: 0n,
  content: Buffer.from(`content ${index}\n`.repeat(20)),
}));
const request: RunRequest = { image, files, steps: [{ argv: ['true'] }] };

const hostSpawn = async () => {
  const child = spawn('true', [], { stdio: 'ignore' });
  await once(child, 'close');
};

await using bed = await Testbed.up({ hosts: 2 });
await bed.useOldDocker('h1');
await using old = await sshFleet([sshNode(bed, 'h1')]);
await using newer = await sshFleet([sshNode(bed, 'h2')]);

/** As many idle sandboxes, and nothing else under way: what served before has been removed. */
async function idle(fleet: Katafleet, host: string, count: number): Promise<void> {
  await fleet.warm(image, count);
  while ((await bed.containers(host)).length > count) await new Promise((resolve) => setTimeout(resolve, 20));
}

// The newer client on purpose: the stand-in for 1.6.2 is a shell script, whose own time is nobody's.
const dockerRun = ['/usr/bin/docker', 'run', '--rm', '--network', 'none', '--entrypoint', 'true', `katafleet/${image}`];
const ssh = (...words: string[]) => exec('ssh', ['-F', bed.sshConfig, ...words, 'h1', ...dockerRun]);
const shared = ['-o', 'ControlMaster=auto', '-o', 'ControlPersist=30', '-o', `ControlPath=${bed.path('h1', '/tmp')}/%C`];

const measured = { spawned: [] as number[], warm: [] as number[], stdio: [] as number[], cold: [] as number[], overMaster: [] as number[] };
for (let round = 0; round < rounds + warmUp; round += 1) {
  const quiet = async () => {
    await idle(old, 'h1', 2);
    await idle(newer, 'h2', 2);
  };
  await quiet();
  const [spawned, warm] = [await time(hostSpawn), await time(() => old.run(request))];
  await quiet();
  const stdio = await time(() => newer.run(request));
  await quiet();
  const one = {
    spawned,
    warm,
    stdio,
    cold: await time(() => ssh()),
    overMaster: await time(() => ssh(...shared)),
  };
  if (round < warmUp) continue; // V8 and the caches warm up
  for (const [what, value] of Object.entries(one)) measured[what as keyof typeof one].push(value);
}

const ms = (value: number) => `${value.toFixed(value < 20 ? 2 : 0)} ms`;
const shown = (values: number[]) => {
  const { median, p95, n } = summarise(values);
  return `${ms(median)}, p95 ${ms(p95)} (n=${n})`;
};
const [spawned, warm, stdio, cold] = [measured.spawned, measured.warm, measured.stdio, measured.cold].map(
  (all) => summarise(all).median,
) as [number, number, number, number];
const within = (above: number) => [`≤ ${targetMs} ms`, above <= targetMs ? 'yes' : '**no**'];

await publish(
  'ssh',
  `Made by \`npm run bench:ssh -- --write\` (${today()}). Medians; the 95th percentile beside them. The node is a host of
\`scripts/testbed\` on the same machine, behind its own sshd.

Machine: ${machine()}.

${table(
  ['what', 'median', 'target', 'reached'],
  [
    ['`true` spawned on the host', shown(measured.spawned), '–', ''],
    ['warm run of `true` over 10 files, docker command of 1.6.2', shown(measured.warm), '–', ''],
    ['above the host’s spawn', ms(warm - spawned), ...within(warm - spawned)],
    ['warm run over dial-stdio, engine 20.10', shown(measured.stdio), '–', ''],
    ['above the host’s spawn', ms(stdio - spawned), ...within(stdio - spawned)],
    ['`ssh node docker run --rm IMAGE true`, a login each', shown(measured.cold), '–', ''],
    ['the same over a connection that stands', shown(measured.overMaster), '–', ''],
    ['the login and `docker run` over the whole warm run', `${(cold / warm).toFixed(0)} ×`, '–', ''],
  ],
)}`,
);
