import assert from 'node:assert/strict';
import { parseArgs } from 'node:util';
import { fileURLToPath } from 'node:url';
import Dockerode from 'dockerode';
import { MiB } from '../../src/base/units.ts';
import { labels } from '../../src/model/labels.ts';
import { socketPath } from '../../src/model/endpoint.ts';
import { Connection, httpPost } from '../bench/load/connection.ts';
import { descriptorsOf, MeasuredServer } from '../bench/load/measured-server.ts';
import { endpoint } from '../support/fleet.ts';

/**
 * `npm run test:leaks -- [--runs N] [--clients N]`: runs on a real engine leave nothing behind. DOCKER_HOST names an engine for tests
 * that has the image build-essential. Fails if there are more containers, descriptors or resident bytes than before the runs.
 */
const { values } = parseArgs({ options: { runs: { type: 'string', default: '20000' }, clients: { type: 'string', default: '6' } } });
const [runs, clients] = [Number(values.runs), Number(values.clients)];
/** Runs before the first look: pools are full then, connections to the engine are open, and V8 has compiled what is hot. */
const warmUp = 200;
/** Idle sandboxes that the pool always has. */
const idle = 4;
/** What a process may have more without a leak: sockets that an agent keeps, and what V8 and malloc keep of what was freed. */
const slack = { descriptors: 8, resident: 32 * MiB };
/** How long the pool may take to be full again, ms. */
const settleMs = 60_000;

assert.ok(endpoint.startsWith('unix:'), 'DOCKER_HOST must be the socket of an engine that tests may use');
const docker = new Dockerode({ socketPath: socketPath(endpoint) });
const main = fileURLToPath(new URL('../../dist/main.js', import.meta.url));
await using server = await MeasuredServer.start(
  {
    nodes: [{ name: 'n1', endpoint }],
    profiles: { small: { memory: '32m' } },
    pools: [{ image: 'build-essential', profile: 'small', idle: { min: idle, max: idle } }],
    journal: { file: 'journal.db', keepBytes: '64m' },
  },
  (config) => [main, '--config', config, 'serve'],
);

/** The containers of this katafleet, as the engine knows them. */
async function containers(): Promise<number> {
  const all = await docker.listContainers({ all: true, filters: { label: [`${labels.role}=sandbox`] } });
  return all.length;
}

interface Look {
  containers: number;
  descriptors: number;
  resident: number;
  heap: number;
}

/** What is there when nothing runs and the pool is full. */
async function look(): Promise<Look> {
  for (const until = performance.now() + settleMs; (await containers()) !== idle && performance.now() < until;)
    await new Promise((resolve) => setTimeout(resolve, 200));
  const { rss, heap } = await server.held();
  return { containers: await containers(), descriptors: descriptorsOf(server.child.pid), resident: rss, heap };
}

const connections = await Promise.all(Array.from({ length: clients }, () => Connection.open(server.url)));
const request = httpPost(server.url, '/v1/runs?wait=120', {
  image: 'build-essential',
  profile: 'small',
  files: { 'a.txt': 'a', 'b.txt': 'b'.repeat(10_000) },
  command: ['sh', '-c', 'cat b.txt >c.txt; rm a.txt; echo done; exit 3'],
});
async function make(count: number): Promise<void> {
  let left = count;
  await Promise.all(
    connections.map(async (connection) => {
      while ((left -= 1) >= 0) {
        const { status, body } = await connection.send(request);
        assert.ok(status === 201 && body.includes('"code":3'), `the server answered ${status}: ${body.slice(0, 1_000)}`);
      }
    }),
  );
}

const tell = ({ containers: count, descriptors, resident, heap }: Look) =>
  `${count} containers, ${descriptors} descriptors, ${(resident / MiB).toFixed(1)} MiB resident, heap ${(heap / MiB).toFixed(2)} MiB`;
await make(warmUp);
const before = await look();
console.log(`after ${warmUp} runs: ${tell(before)}`);
const begun = performance.now();
const parts = 10;
for (let part = 1; part <= parts; part += 1) {
  await make(Math.ceil(runs / parts));
  const perSecond = (part * Math.ceil(runs / parts)) / ((performance.now() - begun) / 1_000);
  console.log(`${part * Math.ceil(runs / parts)} more: ${tell(await look())}, ${perSecond.toFixed(1)} runs a second`);
}
const after = await look();
for (const connection of connections) connection.close();
assert.equal(before.containers, idle, 'the pool was full before');
assert.equal(after.containers, idle, 'only the pool’s containers are left');
assert.ok(
  after.descriptors <= before.descriptors + slack.descriptors,
  `descriptors grew from ${before.descriptors} to ${after.descriptors}`,
);
assert.ok(
  after.resident <= before.resident + slack.resident,
  `resident bytes grew by ${((after.resident - before.resident) / MiB).toFixed(1)} MiB`,
);
console.log('nothing is left behind');
