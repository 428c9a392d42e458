// `npm run bench:waits -- [--waits N] [--http N]`: what waits for runs leave in memory. Waits end in each way: the client is gone, the time is
// over, the run ends. First in the run service itself, then over HTTP.
import assert from 'node:assert/strict';
import { setMaxListeners } from 'node:events';
import { parseArgs } from 'node:util';
import { api } from '../support/api.ts';
import { placed, runOf } from '../support/fake-service.ts';
import { until } from '../support/until.ts';
import { Connection } from './load/connection.ts';
import { machine, publish, table, today } from './report.ts';
import { slopeOf } from './statistics.ts';

const { values } = parseArgs({
  options: { waits: { type: 'string', default: '1000000' }, http: { type: 'string', default: '50000' }, write: { type: 'boolean' } },
});
const looks = 20;
const atOnce = 1_000;
const collect = globalThis.gc ?? assert.fail('run it by npm run bench:waits: node needs --expose-gc');

/** The heap after a collection, bytes. */
async function heap(): Promise<number> {
  for (let round = 0; round < 3; round += 1) {
    collect();
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return process.memoryUsage().heapUsed;
}

/** Makes so many waits in batches; returns the heap's slope over the second half, bytes a wait. */
async function slope(waits: number, batch: (count: number) => Promise<void>): Promise<number> {
  const points: [number, number][] = [];
  await batch(atOnce); // what is compiled and allocated once
  for (let look = 0; look <= looks; look += 1) {
    points.push([look * Math.ceil(waits / looks), await heap()]);
    for (let made = 0; look < looks && made < waits / looks; made += atOnce) await batch(Math.min(atOnce, waits / looks - made));
  }
  return slopeOf(points.slice(looks / 2));
}

const { service, listen, close, driver } = await api(['n1']);
const { id } = await service.accept(runOf(['hold']), placed());
await until(() => driver('n1').holding === 1);
const rows: string[][] = [];
const tell = (what: string, count: number, bytes: number) => {
  rows.push([what, count.toLocaleString('en'), `${bytes.toFixed(2)} bytes a wait`, '≤ 1', bytes <= 1 ? 'yes' : '**no**']);
  process.stderr.write(`${rows.at(-1)?.join(' | ')}\n`);
};
const waits = Number(values.waits);
tell(
  'the client goes away',
  waits,
  await slope(waits, async (count) => {
    const clients = Array.from({ length: count }, () => new AbortController());
    const all = clients.map(({ signal }) => service.ended(id, 60_000, signal));
    for (const client of clients) client.abort();
    await Promise.all(all);
  }),
);
const lasting = new AbortController();
setMaxListeners(0, lasting.signal);
tell(
  'the time is over, under one signal that stays',
  waits / 10,
  await slope(waits / 10, async (count) => {
    await Promise.all(Array.from({ length: count }, () => service.ended(id, 1, lasting.signal)));
  }),
);
const url = await listen();
const connections = await Promise.all(Array.from({ length: 50 }, () => Connection.open(url)));
const request = Buffer.from(`GET /v1/runs/${id}?wait=0.001 HTTP/1.1\r\nhost: ${new URL(url).host}\r\n\r\n`);
const http = Number(values.http);
tell(
  'GET …?wait=0.001 over 50 connections',
  http,
  await slope(http, async (count) => {
    let left = count;
    await Promise.all(
      connections.map(async (connection) => {
        while ((left -= 1) >= 0) {
          const { status, body } = await connection.send(request);
          assert.equal(status, 200, body);
        }
      }),
    );
  }),
);
for (const connection of connections) connection.close();
driver('n1').letGo();
await close();
await publish(
  'waits',
  `Made by \`npm run bench:waits -- --write\` (${today()}): what waits for a run that does not end leave in the heap: the slope of the heap after
collections, over the second half of all waits.

Machine: ${machine()}.

${table(['how the waits end', 'waits', 'left in the heap', 'target', 'reached'], rows)}`,
);
