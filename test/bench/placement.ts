// What one decision of the scheduler costs: `npm run bench:placement [-- --write]`. Needs no engine.
import { MiB } from '../../src/base/units.ts';
import { Cluster } from '../../src/scheduler/place/cluster.ts';
import { place, type Policy, type Wanted } from '../../src/scheduler/place/placement.ts';
import { seeded } from '../support/random.ts';
import { machine, publish, table, today } from './report.ts';
import { summarise } from './statistics.ts';

const idleMemory = 16 * MiB;
const sizes = [10, 100, 1_000, 10_000];
const policies: Policy[] = [{ pack: 'spread' }, { pack: 'binpack' }];
const imageCount = 200;
/** Images that every node has; each of the others is on a quarter of the nodes. */
const everywhere = 20;
const sandboxesPerNode = 5;
const racks = 50;
const image = (index: number) => `image-${index}:latest`;

/** A fleet as it might be: nodes of three sizes, two architectures, in racks; idle sandboxes of the images that they have. */
function fleet(nodes: number, random: () => number): Cluster {
  const cluster = new Cluster();
  for (let index = 0; index < nodes; index += 1) {
    const name = `node-${index}`;
    const memory = ([8, 16, 64][Math.floor(random() * 3)] ?? 8) * 1024 * MiB;
    cluster.setNode({
      name,
      probed: true,
      architecture: random() < 0.1 ? 'arm64' : 'amd64',
      labels: { rack: `rack-${index % racks}`, disk: index % 2 === 0 ? 'ssd' : 'hdd' },
      cpus: 8,
      memory,
      total: memory,
      driver: 'engine',
      networks: ['rsync', 'profile'],
      severalMachines: false,
      memoryLimits: 'enforced',
      canObtain: true,
    });
    cluster.setHealth(name, 'ready');
    const images = Array.from({ length: imageCount }, (_, at) => at).filter((at) => at < everywhere || random() < 0.25);
    cluster.setImages(name, images.map(image));
    for (let count = 0; count < sandboxesPerNode; count += 1) {
      const pool = image(images[1 + Math.floor(random() * (images.length - 1))] ?? 1); // none of the first
      cluster.setIdle(name, pool, (cluster.at(index)?.pools.get(pool) ?? 0) + 1);
      cluster.reserve(name, idleMemory);
    }
    cluster.reserve(name, Math.floor(random() * 0.5 * memory)); // runs under way
  }
  return cluster;
}

const wants = (index: number, more: Partial<Wanted> = {}): Wanted => ({
  image: image(index),
  pool: image(index),
  memory: 512 * MiB,
  cpus: 1,
  idleMemory,
  constraints: [],
  ...more,
});

interface Scene {
  what: string;
  wanted: (random: () => number) => Wanted;
  prepare?: (cluster: Cluster, random: () => number) => void;
  expected: (decision: ReturnType<typeof place>) => boolean;
}

/** Leaves so much free on each node. */
function fill(cluster: Cluster, free: (index: number) => number): void {
  let index = 0;
  for (const node of cluster.nodes()) cluster.reserve(node.facts.name, Math.max(0, node.free - free((index += 1))));
}

const scenes: Scene[] = [
  {
    what: 'a warm sandbox waits',
    wanted: (random) => wants(1 + Math.floor(random() * (everywhere - 1))),
    expected: (decision) => decision.kind === 'place',
  },
  { what: 'the image is there, no sandbox', wanted: () => wants(0), expected: (decision) => decision.kind === 'place' && !decision.warm },
  {
    what: 'a label is asked for',
    wanted: (random) => wants(0, { constraints: [`rack==rack-${Math.floor(random() * Math.min(10, racks))}`] }),
    expected: (decision) => decision.kind === 'place',
  },
  {
    what: 'nearly full: room on one node in ten',
    wanted: (random) => wants(Math.floor(random() * everywhere)),
    prepare: (cluster) => fill(cluster, (index) => (index % 10 === 0 ? 3_000 : 300) * MiB),
    expected: (decision) => decision.kind === 'place',
  },
  {
    what: 'nothing fits: all are full',
    wanted: (random) => wants(Math.floor(random() * everywhere)),
    prepare: (cluster) => fill(cluster, () => 300 * MiB),
    expected: (decision) => decision.kind === 'wait',
  },
  {
    what: 'nothing fits: what has the label is full, the rest is not',
    wanted: () => wants(0, { constraints: ['rack==rack-3'] }),
    prepare: (cluster) => fill(cluster, (index) => (index % racks === 4 ? 300 : 4_000) * MiB),
    expected: (decision) => decision.kind === 'wait',
  },
];

/** One decision, its booking, and the end of an older run, µs. A run's idle sandbox is taken, and another waits when it ends. */
function measure(cluster: Cluster, { wanted, expected }: Scene, policy: Policy, rounds: number, random: () => number): number[] {
  const running: { node: string; pool: string; booked: number; warm: boolean }[] = [];
  const most = Math.max(4, Math.round(cluster.size / 10));
  const idle = (node: string, pool: string, more: number) =>
    cluster.setIdle(
      node,
      pool,
      (Array.from(cluster.withIdle(pool), (slot) => cluster.at(slot))
        .find((one) => one?.facts.name === node)
        ?.pools.get(pool) ?? 0) + more,
    );
  const times: number[] = [];
  for (let round = 0; round < rounds + rounds / 4; round += 1) {
    const job = wanted(random);
    const ended = running.length > most ? running.shift() : undefined;
    if (ended?.warm) idle(ended.node, ended.pool, 1);
    const begun = performance.now();
    if (ended) cluster.release(ended.node, ended.booked);
    const decision = place(cluster, job, policy, random);
    if (decision.kind === 'place') {
      const booked = job.memory - (decision.warm ? idleMemory : 0);
      cluster.reserve(decision.node, booked);
      running.push({ node: decision.node, pool: job.pool, booked, warm: decision.warm });
    }
    const spent = performance.now() - begun;
    if (decision.kind === 'place' && decision.warm) idle(decision.node, job.pool, -1);
    if (!expected(decision)) throw new Error(`${JSON.stringify(job)} was not expected to ${decision.kind}`);
    if (round >= rounds / 4) times.push(1_000 * spent); // V8 has warmed up by then
  }
  return times;
}

const micro = (value: number) => (value < 10 ? value.toFixed(1) : value.toFixed(0));
const rows: string[][] = [];
const missed: string[] = [];
for (const policy of policies) {
  for (const scene of scenes) {
    const medians: number[] = [];
    const cells: string[] = [];
    for (const nodes of sizes) {
      const random = seeded(nodes);
      const cluster = fleet(nodes, random);
      scene.prepare?.(cluster, random);
      const { median, p95 } = summarise(measure(cluster, scene, policy, 4_000, random));
      medians.push(median);
      cells.push(`${micro(median)}, ${micro(p95)}`);
      if ((nodes === 100 && median > 20) || (nodes === 10_000 && median > 100))
        missed.push(`${policy.pack}, ${scene.what}, ${nodes} nodes`);
    }
    const growth = (medians[3] ?? 0) / (medians[1] ?? 1);
    rows.push([policy.pack, scene.what, ...cells, `${growth.toFixed(1)} ×`]);
    process.stderr.write(`${policy.pack}: ${scene.what}: ${cells.join(' | ')} | ${growth.toFixed(1)} ×\n`);
  }
}

await publish(
  'placement',
  `Made by \`npm run bench:placement -- --write\` (${today()}). One decision with its booking and the end of an older run, in µs: the median and the
95th percentile of 4,000. ${imageCount} images, ${everywhere} of them everywhere and the others on a quarter of the nodes; three sizes of nodes; five idle
sandboxes on each, so that 10,000 nodes have ${(10_000 * sandboxesPerNode).toLocaleString('en')}. Targets: medians of at most 20 µs with 100 nodes and 100 µs with 10,000:
${missed.length === 0 ? 'reached' : `missed for ${missed.join('; ')}`}.

Machine: ${machine()}.

${table(['policy', 'what', ...sizes.map((nodes) => `${nodes.toLocaleString('en')} nodes`), '100 to 10,000'], rows)}`,
);
