import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { link, mkdir, mkdtemp, realpath, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { KatafleetError } from '../../../src/model/errors.ts';
import { FilesBelow } from '../../../src/files/below.ts';

const code = (expected: string) => (error: unknown) => error instanceof KatafleetError && error.code === expected;

describe('files below a folder, by names that others wrote', () => {
  let outside: string;
  let folder: string;
  const below = (most = { files: 100, bytes: 1_000 }) => new FilesBelow(folder, most);
  beforeEach(async () => {
    outside = await realpath(await mkdtemp(join(tmpdir(), 'katafleet-below-')));
    folder = join(outside, 'folder');
    await mkdir(join(folder, 'a/b'), { recursive: true });
    await writeFile(join(folder, 'a/b/file'), 'inside', { mode: 0o755 });
    await writeFile(join(outside, 'secret'), 'secret');
  });
  afterEach(() => rm(outside, { recursive: true }));

  it('are read at any depth, and where the folder itself is a link', async () => {
    const found = await below().read('a/b/file');
    assert.deepEqual([found?.content.toString(), found?.executable, (found?.mtimeNs ?? 0n) > 0n], ['inside', true, true]);
    await symlink(folder, join(outside, 'linked'));
    assert.equal((await new FilesBelow(join(outside, 'linked'), { files: 1, bytes: 6 }).read('a/b/file'))?.content.toString(), 'inside');
    assert.deepEqual(await below().names('a/b'), ['file']);
  });

  it('are refused for an absolute name, or one with a part `..`', async () => {
    for (const path of ['/etc/hostname', '../secret', 'a/../../secret', 'a/..', '.', 'a/./b/file', 'a//b/file', '', 'a/b/file/', 'a\0b'])
      await assert.rejects(below().read(path), code('files.path'), JSON.stringify(path));
  });

  it('are not read through a link in any part of the path', async () => {
    await symlink(outside, join(folder, 'up'));
    await symlink(join(outside, 'secret'), join(folder, 'leaf'));
    await symlink('../..', join(folder, 'a/top'));
    await symlink('b', join(folder, 'a/within'));
    await symlink('/proc/self/cwd', join(folder, 'proc'));
    for (const path of ['up/secret', 'leaf', 'a/top/secret', 'a/top/folder/a/b/file', 'a/within/file', 'proc/package.json'])
      assert.equal(await below().read(path), undefined, path);
    for (const path of ['up', 'a/within', '../..', '/etc']) assert.equal(await below().names(path), undefined, path);
  });

  it('are plain files: read returns undefined for folders, fifos, sockets and missing files', async () => {
    assert.equal(spawnSync('mkfifo', [join(folder, 'fifo')]).status, 0);
    const server = createServer().listen(join(folder, 'socket'));
    await new Promise((resolve) => server.once('listening', resolve));
    for (const path of ['a', 'fifo', 'socket', 'absent', 'absent/file', 'a/b/file/deeper'])
      assert.equal(await below().read(path), undefined, path);
    await new Promise((resolve) => server.close(resolve));
    // Of the machine: no device is read, however endless.
    assert.equal(await new FilesBelow('/dev', { files: 1, bytes: 1 }).read('zero'), undefined);
  });

  it('can be one file with two names', async () => {
    await link(join(folder, 'a/b/file'), join(folder, 'again'));
    assert.equal((await below().read('again'))?.content.toString(), 'inside');
  });

  it('are bounded, each and all together, before they are read', async () => {
    await assert.rejects(below().read('a/b/file', 5), code('files.too_large'));
    await writeFile(join(folder, 'sparse'), '');
    await truncate(join(folder, 'sparse'), 1024 ** 4);
    await assert.rejects(below().read('sparse'), code('files.too_large'));
    const two = below({ files: 100, bytes: 11 });
    assert.ok(await two.read('a/b/file'));
    await assert.rejects(two.read('a/b/file'), code('files.too_large'));
    const few = below({ files: 2, bytes: 1_000 });
    for (const path of ['absent', 'a/b/file']) await few.read(path);
    await assert.rejects(few.read('a/b/file'), code('files.too_many'));
  });
});
