// How many runs the store alone accepts, begins and finishes in a second: npx tsx test/bench/store.ts [process|power] [RUNS] [BYTES]
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { Placing } from '../../src/model/placing.ts';
import { Store } from '../../src/store/store.ts';
import { aRequest, aRunResult } from '../support/builders.ts';

const durability = process.argv[2] === 'power' ? 'power' : 'process';
const [runs, bytes, atOnce] = [Number(process.argv[3] ?? 30_000), Number(process.argv[4] ?? 1_024), 256];

const folder = mkdtempSync(join(process.env['BENCH_FOLDER'] ?? tmpdir(), 'katafleet-store-'));
try {
  await using store = await Store.open(join(folder, 'journal.db'), { durability, onTrouble: console.error });
  const content = Buffer.alloc(bytes, 'x');
  const request = aRequest({ files: [{ path: 'a', mode: 0o644, mtimeNs: 1n, content }] });
  const placing = Placing.parse({});
  const accepts: number[] = [];
  let next = 0;
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  const one = async () => {
    for (let number = next++; number < runs; number = next++) {
      const id = `run-${number}`;
      const began = performance.now();
      await store.accept({ id, tenant: 't', key: id, sent: { number }, request, placing, at: number });
      accepts.push(performance.now() - began);
      void store.begin(id, 1, { node: 'n' }, number);
      await store.finish(
        id,
        1,
        aRunResult({
          id,
          changes: {
            files: [{ change: 'created', path: 'b', mode: 0o644, mtimeNs: 1n, content }],
            folders: [],
            deleted: [],
            omitted: [],
            omittedCount: 0,
          },
        }),
        number,
      );
    }
  };
  const began = performance.now();
  const cpu = process.cpuUsage();
  await Promise.all(Array.from({ length: atOnce }, one));
  const seconds = (performance.now() - began) / 1_000;
  const used = process.cpuUsage(cpu);
  delay.disable();
  accepts.sort((a, b) => a - b);
  const at = (share: number) => accepts[Math.floor(share * (accepts.length - 1))]?.toFixed(1);
  console.log(
    `${durability}: ${Math.round(runs / seconds)} runs/s of ${bytes} bytes; accept with ${atOnce} at once p50 ${at(0.5)} ms, p99 ${at(0.99)} ms`,
  );
  console.log(
    `event loop p99 ${(delay.percentile(99) / 1e6).toFixed(1)} ms; CPU ${((used.user + used.system) / 1e6 / seconds).toFixed(2)} cores`,
  );
  console.log(
    readdirSync(folder)
      .map((name) => `${name}: ${Math.round(statSync(join(folder, name)).size / 1024)} KiB`)
      .join(', '),
  );
} finally {
  rmSync(folder, { recursive: true });
}
