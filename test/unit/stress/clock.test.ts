import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { promisify } from 'node:util';

const clock = fileURLToPath(new URL('../../stress/chaos/clock.mjs', import.meta.url));
const program = `
  const { isMainThread, parentPort, Worker } = require('node:worker_threads');
  const times = () => [Date.now(), new Date().getTime(), new Date(5).getTime(), Date.parse(Date()), performance.timeOrigin + performance.now()];
  if (!isMainThread) parentPort.postMessage(times());
  else new Worker(__filename, { execArgv: [] }).on('message', (worker) => console.log(JSON.stringify([times(), worker])));
`;

describe('the clock of a storm', () => {
  it('shifts the wall clock of the process and of its worker threads, and no other clock', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'katafleet-clock-'));
    try {
      const file = join(folder, 'clock');
      await writeFile(file, String(3_600_000));
      await writeFile(join(folder, 'program.cjs'), program);
      const env = { ...process.env, KATAFLEET_STORM_CLOCK: file, NODE_OPTIONS: `--import=${pathToFileURL(clock).href}` };
      const before = Date.now();
      const { stdout } = await promisify(execFile)(process.execPath, [join(folder, 'program.cjs')], { env });
      const after = Date.now();
      for (const [now, date, given, text, steady] of JSON.parse(stdout) as [number, number, number, number, number][]) {
        const hourLater = (shown: number, roundedMs = 0) =>
          assert.ok(shown >= before + 3_600_000 - roundedMs && shown <= after + 3_600_000, `${shown}`);
        hourLater(now);
        hourLater(date);
        hourLater(text, 1_000);
        assert.equal(given, 5, 'a time that is given stays');
        assert.ok(steady <= after + 1_000, 'the steady clock has no step');
      }
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});
