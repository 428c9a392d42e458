import assert from 'node:assert/strict';
import { mkdtemp, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SwarmKeys } from '../../../src/drivers/swarm/services/keys.ts';
import { makeFolder, makeFolderSync } from '../../../src/files/make-folder.ts';
import { Places } from '../../../src/katas/places.ts';
import { Store } from '../../../src/store/store.ts';

const ways = {
  makeFolder,
  makeFolderSync: async (path: string, mode?: number) => makeFolderSync(path, mode),
};

for (const [name, make] of Object.entries(ways)) {
  describe(`${name}: a folder with all above it`, () => {
    let folder: string;
    beforeEach(async () => (folder = await mkdtemp(join(tmpdir(), 'katafleet-folders-'))));
    afterEach(() => rm(folder, { recursive: true }));

    it('is made with its mode, and may exist already', async () => {
      const path = join(folder, 'a/b/c');
      await make(path, 0o700);
      await make(path, 0o755);
      for (const made of ['a', 'a/b', 'a/b/c']) assert.equal((await stat(join(folder, made))).mode & 0o777, 0o700);
      await symlink(path, join(folder, 'link'));
      await make(join(folder, 'link/d/e'));
      assert.ok((await stat(join(path, 'd/e'))).isDirectory());
    });

    it('can be made by several callers at once', async () => {
      // Whoever finds nothing may find the folder above the next moment.
      for (let round = 0; round < 30; round += 1) {
        const path = join(folder, String(round), 'u/v/w/x/y/z');
        await Promise.all(Array.from({ length: 8 }, () => make(path)));
        assert.ok((await stat(path)).isDirectory());
      }
    });

    it('fails where a file or a broken link has the name', async () => {
      await writeFile(join(folder, 'file'), '');
      await symlink('nowhere', join(folder, 'link'));
      await assert.rejects(make(join(folder, 'file')), { code: 'EEXIST' });
      await assert.rejects(make(join(folder, 'file/below')), { code: 'ENOTDIR' });
      await assert.rejects(make(join(folder, 'link')), { code: 'EEXIST' });
      await assert.rejects(make(join(folder, 'link/below')));
    });

    for (const path of ['/proc/katafleet', '/proc/katafleet/a/b', '/proc/self/fd/a/b']) {
      it(`below /proc is refused, and does not hang: ${path}`, () =>
        assert.rejects(make(path), { code: 'ENOENT', message: /has no place for a folder/ }));
    }
  });
}

describe('a place below /proc is refused in words', () => {
  it('for the journal', async () => {
    await assert.rejects(Store.open('/proc/katafleet/journal.db', { thread: false }), {
      code: 'journal.broken',
      message: /no place for a folder/,
    });
  });

  it('for the swarm’s key', () => {
    assert.throws(() => SwarmKeys.from('/proc/katafleet/key'), { code: 'config.invalid', message: /no place for a folder/ });
  });

  it('for katas', async () => {
    const places = new Places('/proc/katafleet/katas');
    await assert.rejects(
      places.staged(async () => undefined),
      { code: 'kata.storage', message: /no place for a folder/ },
    );
  });
});
