import assert from 'node:assert/strict';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { writeBack } from '../../src/cli/files/write-back.ts';

describe('files written back', () => {
  it('keep their time stamps to the nanosecond, before 1970 too, and their executable bit, without set-user bits', async function () {
    if (process.platform !== 'linux') return this.skip();
    const folder = await mkdtemp(join(tmpdir(), 'katafleet-times-'));
    after(() => rm(folder, { recursive: true }));
    const times = { a: -1_500_000_001n, b: -999_999_999n, c: 1_700_000_000_123_456_789n, d: -300_000_000_000_000_007n };
    const files = Object.entries(times).map(([path, mtimeNs]) => ({
      change: 'changed' as const,
      path,
      mode: 0o4755,
      mtimeNs,
      content: Buffer.from(path),
    }));
    await writeBack(folder, { files, folders: [], deleted: [] });
    for (const [path, mtimeNs] of Object.entries(times)) {
      const found = await stat(join(folder, path), { bigint: true });
      assert.deepEqual([path, found.mtimeNs, found.mode & 0o7777n], [path, mtimeNs, 0o755n]);
    }
  });
});
