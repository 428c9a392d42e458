// What a run costs through a swarm, and how quickly a single-use sandbox is replaced: `npm run bench:swarm [-- --write]`. Brings
// up three hosts of scripts/testbed, one of them a manager, with the images of the engine that KATAFLEET_TEST_ENGINE names.
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import Dockerode from 'dockerode';
import { DialledStream } from '../../src/drivers/swarm/dial/dialled.ts';
import { Katafleet, type RunRequest } from '../../src/app/library.ts';
import { eventually } from '../support/eventually.ts';
import { Testbed } from '../support/testbed.ts';
import { machine, publish, table, today } from './report.ts';
import { summarise, time } from './statistics.ts';

const image = 'build-essential';
const rounds = Number(process.env['BENCH_ROUNDS'] ?? 30);
const seconds = Number(process.env['BENCH_SECONDS'] ?? 15);
const poolSizes = [2, 8, 32];
const [aboveTarget, lostTarget] = [10, 1_000];
const exec = promisify(execFile);
const profile = { memory: 64 * 1024 ** 2 };
const files = Array.from({ length: 10 }, (_, index) => ({
  path: `file${index}`,
  mode: 0o644,
  mtimeNs: 0n,
  content: Buffer.from(`content ${index}\n`.repeat(20)),
}));
const request: RunRequest = { image, files, steps: [{ argv: ['true'] }], profile };

await using bed = await Testbed.up({ hosts: 3, managers: 1 });
const endpoint = bed.endpoint('h1');
const docker = new Dockerode({ host: bed.address('h1'), port: 2375, protocol: 'http', version: 'v1.41' });
const { Id: imageId } = await docker.getImage(`katafleet/${image}`).inspect();

const hostSpawn = async () => {
  const child = spawn('true', [], { stdio: 'ignore' });
  await once(child, 'close');
};
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

interface Task {
  Status: { State: string };
}
const tasksOf = async (service: string) => (await docker.listTasks({ filters: JSON.stringify({ service: [service] }) })) as Task[];

/** A service of the swarm's own, without katafleet. */
async function service(network: string, command: string[], mode: object): Promise<Dockerode.Service> {
  const dnsrr = network === 'host' || network === 'bridge' ? {} : { EndpointSpec: { Mode: 'dnsrr' } };
  return docker.createService({
    TaskTemplate: {
      ContainerSpec: { Image: imageId, Command: command, Init: false },
      RestartPolicy: 'Replicated' in mode ? { Condition: 'any', Delay: 0 } : { Condition: 'none' },
      LogDriver: { Name: 'none' },
      Networks: [{ Target: network }],
    },
    Mode: mode,
    ...dnsrr,
  } as Dockerode.CreateServiceOptions);
}

/** A replicated job of `true`, until the swarm says that it is complete. */
async function job(): Promise<void> {
  const made = await service('host', ['true'], { ReplicatedJob: { MaxConcurrent: 1, TotalCompletions: 1 } });
  while (!(await tasksOf(made.id)).some(({ Status }) => Status.State === 'complete')) await sleep(10);
  await made.remove();
}

/** A program of this folder, perhaps in another network; answers the times that it prints. */
async function times(program: string, args: string[], inside: string[] = []): Promise<number[]> {
  const file = fileURLToPath(new URL(program, import.meta.url));
  const [command = '', ...rest] = [...inside, process.execPath, '--import', 'tsx', file, ...args];
  const { stdout } = await exec(command, rest, { timeout: 300_000 });
  return JSON.parse(stdout) as number[];
}

const plainPort = 7431;

/** From the end of a replica to the next one, which lives for half a second. */
async function ownReplacement(network: string, address: string, inside: string[] = []): Promise<number[]> {
  const measuring = times('swarm-plain.ts', [String(plainPort), String(rounds)], inside);
  const command = ['bash', '-c', `exec 3<>/dev/tcp/${address}/${plainPort} && sleep 0.5`];
  const made = await service(network, command, { Replicated: { Replicas: 1 } });
  try {
    return await measuring;
  } finally {
    await made.remove();
  }
}

const ourReplacement = (way: 'host' | 'overlay', at: string, address: string, inside: string[] = []) =>
  times('swarm-replacement.ts', [at, way, address, image, String(rounds)], inside);

/** The process of a container of a host, seen from here: hosts have process namespaces of their own. */
async function processIn(host: string, container: string): Promise<string> {
  const pid = (await bed.docker(host, 'inspect', '--format', '{{.State.Pid}}', container)).trim();
  for (const ours of await readdir('/proc')) {
    if (!/^\d+$/.test(ours)) continue;
    const [status, words] = await Promise.all([
      readFile(`/proc/${ours}/status`, 'utf8').catch(() => ''),
      readFile(`/proc/${ours}/cmdline`, 'utf8').catch(() => ''),
    ]);
    const inner = /^NSpid:\s*(.*)$/m.exec(status)?.[1]?.split(/\s+/) ?? [];
    if (words.startsWith('sleep\x00987654') && inner.includes(pid)) return ours;
  }
  throw new Error(`the process of ${container} on ${host} is not to be seen from here`);
}

const measured = { spawned: [] as number[], warm: [] as number[], job: [] as number[] };
{
  await using katafleet = new Katafleet({ endpoint });
  await katafleet.warm(image, 4, profile);
  for (let round = 0; round < rounds * 3 + 5; round += 1) {
    await katafleet.warm(image, 4, profile);
    const [spawned, warm] = [await time(hostSpawn), await time(() => katafleet.run(request))];
    if (round < 5) continue; // V8 and the caches warm up
    measured.spawned.push(spawned);
    measured.warm.push(warm);
  }
}
for (let round = 0; round < Math.min(rounds, 15); round += 1) measured.job.push(await time(job));

const replacements = [
  {
    network: 'host',
    own: await ownReplacement('host', bed.server),
    ours: await ourReplacement('host', endpoint, bed.server),
  },
];
{
  await docker.createNetwork({ Name: 'bench_tasks', Driver: 'overlay', Internal: true, Attachable: true, CheckDuplicate: true });
  const holder = [
    'run',
    '--detach',
    '--name',
    'bench-holder',
    '--network',
    'bench_tasks',
    '--entrypoint',
    'sleep',
    `katafleet/${image}`,
    '987654',
  ];
  await bed.docker('h1', ...holder);
  const format = '{{(index .NetworkSettings.Networks "bench_tasks").IPAddress}}';
  const address = (await bed.docker('h1', 'inspect', '--format', format, 'bench-holder')).trim();
  const pid = await processIn('h1', 'bench-holder');
  const inside = ['nsenter', '--net', '--target', pid];
  const own = await ownReplacement('bench_tasks', address, inside);
  const ours = await ourReplacement('overlay', `unix://${bed.socket('h1')}`, address, inside);
  replacements.push({ network: 'overlay', own, ours });
  await bed.docker('h1', 'rm', '--force', 'bench-holder');
}

const rates: { size: number; perSecond: number; warm: number; latency: number[] }[] = [];
for (const size of poolSizes) {
  await using katafleet = new Katafleet({ endpoint, pool: { min: size, max: size } });
  await katafleet.warm(image, size, profile);
  const latency: number[] = [];
  let warm = 0;
  const until = performance.now() + seconds * 1_000;
  const client = async () => {
    while (performance.now() < until) {
      const begun = performance.now();
      const { warm: waited } = await katafleet.run(request);
      latency.push(performance.now() - begun);
      if (waited) warm += 1;
    }
  };
  await Promise.all(Array.from({ length: size }, client));
  rates.push({ size, perSecond: latency.length / seconds, warm: warm / latency.length, latency });
}

/** To the answer from elsewhere, less what the run itself takes: from the blow, and from the moment when a connection was known to be dead. */
const lost = { struck: [] as number[], known: [] as number[] };
const givenUp: number[] = [];
const giveUp = Reflect.get(DialledStream.prototype, 'giveUp');
DialledStream.prototype.giveUp = function () {
  givenUp.push(performance.now());
  giveUp.call(this);
};
for (const blow of ['freeze', 'cut'] as const) {
  const others = ['h1', 'h3'];
  for (let round = 0; round < 3; round += 1) {
    await using katafleet = new Katafleet({ endpoint });
    await katafleet.warm(image, 6, profile);
    await eventually('idle sandboxes on h2 and elsewhere', 60, async () => {
      await katafleet.fleet.all[0]?.freshMachines();
      const [node] = katafleet.fleet.nodes();
      const on = (name: string) => node?.members?.find((one) => one.name === name)?.sandboxes.idle ?? 0;
      if (on('h2') === 0 || others.every((name) => on(name) === 0))
        throw new Error(JSON.stringify(node?.members?.map(({ sandboxes }) => sandboxes)));
    });
    // Runs until one is met on h2; the step takes a second wherever it runs.
    const stepMs = 1_000;
    const runs = Array.from({ length: 6 }, () => katafleet.run({ ...request, steps: [{ argv: ['sleep', '1'] }] }));
    await sleep(200); // all six are under way
    await bed.do(blow, 'h2');
    const struck = performance.now();
    const answers = await Promise.all(
      runs.map(async (run) => {
        const { attempt } = await run;
        return { attempt, at: performance.now() };
      }),
    );
    await bed.do(blow === 'freeze' ? 'thaw' : 'heal', 'h2');
    await eventually('h2 is ready again', 60, async () => {
      const nodes = await bed.docker('h1', 'node', 'ls', '--format', '{{.Hostname}} {{.Status}}');
      if (!nodes.includes('h2 Ready')) throw new Error(nodes);
    });
    const dead = givenUp.find((at) => at > struck) ?? NaN;
    for (const { attempt, at } of answers) {
      if (attempt === 1) continue;
      lost.struck.push(at - struck - stepMs);
      lost.known.push(at - dead - stepMs);
    }
  }
}

const ms = (value: number) => `${value.toFixed(value < 20 ? 2 : 0)} ms`;
const shown = (values: number[]) => {
  const { median, p95, n } = summarise(values);
  return `${ms(median)}, p95 ${ms(p95)} (n=${n})`;
};
const median = (values: number[]) => summarise(values).median;
const verdict = (reached: boolean) => (reached ? 'yes' : '**no**');
const above = median(measured.warm) - median(measured.spawned);

await publish(
  'swarm',
  `Made by \`npm run bench:swarm -- --write\` (${today()}). Medians; the 95th percentile beside them. A manager and two workers, hosts of
\`scripts/testbed\` on the same machine.

Machine: ${machine()}.

${table(
  ['what', 'median', 'target', 'reached'],
  [
    ['`true` spawned on the host', shown(measured.spawned), '–', ''],
    ['warm run of `true` over 10 files', shown(measured.warm), '–', ''],
    ['above the host’s spawn', ms(above), `≤ ${aboveTarget} ms`, verdict(above <= aboveTarget)],
    ['a replicated job of `true` on the host’s network, until complete', shown(measured.job), '–', ''],
    ['the job over the whole warm run', `${(median(measured.job) / median(measured.warm)).toFixed(0)} ×`, '–', ''],
    ...replacements.flatMap(({ network, own, ours }) => [
      [`the swarm’s own replacement: a task ended → the next runs, ${network}`, shown(own), '–', ''],
      [`a single-use sandbox ended → the next has dialled in, ${network}`, shown(ours), 'no slower', verdict(median(ours) <= median(own))],
    ]),
    ...rates.map(({ size, perSecond, warm, latency }) => [
      `pool of ${size}, ${size} clients without a pause`,
      `${perSecond.toFixed(1)} runs/s, ${(100 * warm).toFixed(0)} % warm, ${shown(latency)}`,
      '–',
      '',
    ]),
    ['node frozen or cut off → answered from elsewhere, less the run’s own second', shown(lost.struck), '–', ''],
    [
      'its connection is known to be dead → answered from elsewhere, the same',
      shown(lost.known),
      `≤ ${lostTarget} ms`,
      verdict(median(lost.known) <= lostTarget),
    ],
  ],
)}`,
);
