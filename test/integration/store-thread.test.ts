import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { journalFolder } from '../support/stored.ts';

const exec = promisify(execFile);

describe('the store as it is built', () => {
  it('runs its thread from what tsc made; the bundle’s is the same file (serve.test.ts)', async () => {
    const { file, remove } = journalFolder();
    try {
      const script = `
        import { Store } from ${JSON.stringify(new URL('../../dist/store/store.js', import.meta.url).href)};
        const store = await Store.open(${JSON.stringify(file)});
        const placing = { tenant: 't', priority: 5, constraints: [], queueMs: 5 };
        const files = [{ path: 'large', content: Buffer.alloc(50_000, 7) }];
        await store.accept({ id: 'r', tenant: 't', request: { image: 'x', files, steps: [] }, placing, at: 1 });
        const { files: [read] } = await store.request('r');
        console.log(JSON.stringify([await store.counts(), read.content.length]));
        await store.close();`;
      const { stdout } = await exec(process.execPath, ['--input-type=module', '-e', script]);
      assert.deepEqual(JSON.parse(stdout), [{ waiting: 1, running: 0, finished: 0, failed: 0, cancelled: 0 }, 50_000]);
    } finally {
      remove();
    }
  });
});
