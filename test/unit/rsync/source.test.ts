import assert from 'node:assert/strict';
import { mkdir, mkdtemp, realpath, rename, rm, stat, symlink, unlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openSource } from '../../../src/rsync/source.ts';

describe('rsync: sources', () => {
  let root: string;
  beforeEach(async () => {
    root = await realpath(await mkdtemp(join(tmpdir(), 'katafleet-roots-')));
    for (const path of ['katas/one/sandbox', 'katas/one/.git/x', 'other', 'katas-2', 'katas/with%percent'])
      await mkdir(join(root, path), { recursive: true });
    await writeFile(join(root, 'katas/file'), '');
    await symlink(join(root, 'other'), join(root, 'katas/link'));
    await symlink('one', join(root, 'katas/inside'));
    await symlink(join(root, 'katas'), join(root, 'way'));
  });
  afterEach(() => rm(root, { recursive: true }));
  const open = async (path: string, roots = [join(root, 'katas')]) => {
    await using source = await openSource(path.startsWith('/') ? path : join(root, path), roots);
    return { path: await realpath(source.path), uid: source.uid, gid: source.gid };
  };

  it('a folder below a root is one, with its owner', async () => {
    assert.deepEqual(await open('katas/one/sandbox'), {
      path: join(root, 'katas/one/sandbox'),
      uid: process.getuid?.(),
      gid: process.getgid?.(),
    });
  });

  it('a root may itself be reached through a link', async () => {
    assert.equal((await open('way/one/sandbox', [join(root, 'way')])).path, join(root, 'katas/one/sandbox'));
  });

  it('a name that rsyncd.conf has no way to say is no hindrance', async () => {
    assert.equal((await open('katas/with%percent')).path, join(root, 'katas/with%percent'));
  });

  for (const part of ['one', 'one/sandbox']) {
    it(`stays the folder that it was when katas/${part} becomes a link to another one`, async () => {
      await mkdir(join(root, 'other/sandbox'));
      await using source = await openSource(join(root, 'katas/one/sandbox'), [join(root, 'katas')]);
      const before = await stat(source.path);
      await rename(join(root, 'katas', part), join(root, 'katas/moved'));
      await symlink(join(root, 'other'), join(root, 'katas', part));
      const after = await stat(source.path);
      assert.deepEqual([after.dev, after.ino], [before.dev, before.ino]);
    });
  }

  it('follows no symbolic link, even one that appears and disappears', async () => {
    const [real, spare] = [join(root, 'katas/one'), join(root, 'katas/spare')];
    await mkdir(join(root, 'other/sandbox'));
    const outside = await stat(join(root, 'other/sandbox'));
    let over = false;
    const swapping = (async () => {
      while (!over) {
        await rename(real, spare);
        await symlink(join(root, 'other'), real);
        await unlink(real);
        await rename(spare, real);
      }
    })();
    try {
      for (let round = 0; round < 500; round += 1) {
        try {
          await using source = await openSource(join(real, 'sandbox'), [join(root, 'katas')]);
          assert.notEqual((await stat(source.path)).ino, outside.ino);
        } catch (error) {
          assert.equal((error as { code?: string }).code, 'rsync.source', String(error));
        }
      }
    } finally {
      over = true;
      await swapping;
    }
  });

  for (const [path, why] of [
    ['katas', /below none/],
    ['other', /below none/],
    ['katas-2', /below none/],
    ['/etc', /below none/],
    ['katas/absent', /can't be used/],
    ['katas/file', /not a folder/],
    ['katas/link', /symbolic link/],
    ['katas/inside/sandbox', /symbolic link/],
    ['katas/one/.git/x', /\.git/],
  ] as const) {
    it(`${path} is none`, () => assert.rejects(open(path), { code: 'rsync.source', message: why }));
  }

  it('a path that is not in its shortest form is none', async () => {
    for (const path of [
      `${root}/katas/../other`,
      `${root}/katas//one`,
      `${root}/katas/one/`,
      `${root}/katas/./one`,
      `${root}/katas/one/../../other`,
    ]) {
      await assert.rejects(openSource(path, [join(root, 'katas')]), { code: 'rsync.source' }, path);
    }
    await assert.rejects(openSource('katas/one', ['katas']), { code: 'rsync.source' });
  });

  it('allows no source if no root is configured', () =>
    assert.rejects(open('katas/one', []), { code: 'rsync.source', message: /rsync\.roots/ }));
});
