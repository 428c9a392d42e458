/**
 * How long `katafleet serve` takes to know 1,000 nodes with 10 pools, and what it needs while nothing runs: `npm run bench:fleet-size
 * [-- NODES SECONDS]`, after `npm run build`. The engines are another process, asked over HTTP, without containers. The pools keep no
 * idle sandboxes, so only their distribution counts.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { setTimeout as wait } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Service } from '../support/service.ts';

const [count = 1_000, seconds = 30] = process.argv.slice(2).map(Number);
const child = spawn(process.execPath, ['--import', 'tsx', fileURLToPath(new URL('load/many-engines.ts', import.meta.url))], {
  stdio: ['pipe', 'pipe', 'inherit'],
});
const lines = createInterface(child.stdout);
const line = async () => ((await once(lines, 'line')) as [string])[0];
const port = await line();
const asked = async () => {
  const answer = line();
  child.stdin.write('\n');
  return JSON.parse(await answer) as Record<string, number>;
};

/** CPU time of a process so far, ms. Linux counts it in hundredths of a second. */
function cpuMs(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

const nodes = Array.from({ length: count }, (_, index) => ({
  name: `n${index}`,
  endpoint: `tcp://127.${1 + Math.floor(index / 62_500)}.${Math.floor(index / 250) % 250}.${(index % 250) + 1}:${port}`,
}));
const profiles = Object.fromEntries(Array.from({ length: 10 }, (_, index) => [`p${index}`, { pids: 64 + index }]));
const pools = Object.keys(profiles).map((profile) => ({ image: 'any', profile, idle: { min: 0, max: 0 } }));

const begun = performance.now();
const service = await Service.start({ nodes, profiles, pools });
const { pid = 0 } = service;
const listening = performance.now();
const ready = async () => (await service.call<{ nodes: { ready: number } }>('GET', '/health/ready').catch(() => undefined))?.nodes.ready;
while ((await ready()) !== count) await wait(50);
const start = performance.now() - begun;
console.log(
  `${count} nodes, ${pools.length} pools: listens after ${((listening - begun) / 1000).toFixed(1)} s, all are ready after ${(start / 1000).toFixed(1)} s, CPU ${(cpuMs(pid) / 1000).toFixed(1)} s`,
);
await wait(15_000); // what a start leaves to do
await asked();
const [cpu, at] = [cpuMs(pid), performance.now()];
await wait(seconds * 1_000);
const used = cpuMs(pid) - cpu;
const took = performance.now() - at;
console.log(
  `idle for ${(took / 1000).toFixed(0)} s: ${((100 * used) / took).toFixed(1)} % of a core, ${(Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024).toFixed(0)} MiB resident`,
);
const requests = await asked();
console.log(
  'requests a second:',
  Object.entries(requests)
    .map(([path, times]) => `${path} ${(times / (took / 1000)).toFixed(1)}`)
    .join(', '),
);
await service[Symbol.asyncDispose]();
child.stdin.end();
process.exit(0);
