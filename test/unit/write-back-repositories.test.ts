import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { writeBack } from '../../src/cli/files/write-back.ts';
import { noChanges } from '../../src/model/result.ts';

describe('a repository that was not sent with its folder', () => {
  let folder = '';
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'katafleet-repositories-'));
    mkdirSync(join(folder, 'all/sub/.git'), { recursive: true });
    writeFileSync(join(folder, 'all/sub/.git/HEAD'), 'ref: refs/heads/main\n');
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));
  const head = () => readFileSync(join(folder, 'all/sub/.git/HEAD'), 'utf8');

  it('is not deleted with its folder', async () => {
    for (const path of ['all', 'all/sub']) {
      const left = await writeBack(folder, { ...noChanges(), deleted: [path] }, { dotfiles: true });
      assert.deepEqual(left, [{ path, reason: 'git' }]);
    }
    assert.equal(head(), 'ref: refs/heads/main\n');
  });

  it('makes no room for a file of its folder’s name, and the other files come', async () => {
    const files = ['all', 'b'].map((path) => ({
      change: 'created' as const,
      path,
      mode: 0o644,
      mtimeNs: 0n,
      content: Buffer.from(path),
    }));
    assert.deepEqual(await writeBack(folder, { ...noChanges(), files }), [{ path: 'all', reason: 'git' }]);
    assert.equal(head(), 'ref: refs/heads/main\n');
    assert.equal(readFileSync(join(folder, 'b'), 'utf8'), 'b');
  });

  it('does not prevent the removal of a folder without one', async () => {
    mkdirSync(join(folder, 'plain/deep'), { recursive: true });
    assert.deepEqual(await writeBack(folder, { ...noChanges(), deleted: ['plain'] }), []);
    assert.ok(!existsSync(join(folder, 'plain')));
  });
});
