import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const exec = promisify(execFile);
const source = fileURLToPath(new URL('../support/ages.c', import.meta.url));

describe('supervisor: how long files that come after a step wait for the clock', () => {
  let folder: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'katafleet-ages-'));
    await exec('gcc', ['-std=gnu11', '-D_GNU_SOURCE', '-fsanitize=address,undefined', '-o', join(folder, 'ages'), source]);
  });
  after(() => rm(folder, { recursive: true }));

  for (const [back, clock] of [
    [0, 'goes on'],
    [3_600, 'was set back by an hour'],
  ] as const) {
    it(`wait two seconds at most, all of them together, when the clock ${clock}`, async () => {
      const { stdout } = await exec(join(folder, 'ages'), [String(back)]);
      const [tick = NaN, second = NaN] = stdout.trim().split(' ').map(Number);
      assert.ok(tick <= 50, `${tick} ms for a tick`);
      assert.ok(second <= 1_500, `${second} ms for another second`);
    });
  }
});
