import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { link, mkdir, mkdtemp, realpath, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import fc from 'fast-check';
import { decodePath, encodePath, pathFault } from '../../../src/model/paths.ts';
import type { ListedFile } from '../../../src/model/result.ts';
import { dropBounds, exceeds, readDrop, removeDrops } from '../../../src/rsync/drop.ts';

const listed = (path: string, size: number): ListedFile => ({ change: 'created', path, mode: 0o640, mtimeNs: 5n, size });

describe('rsync: what arrived in a drop', () => {
  let folder: string;
  const put = async (path: string, content: string | Buffer) => {
    const at = Buffer.concat([Buffer.from(`${folder}/`), encodePath(path)]);
    await mkdir(Buffer.from(dirname(at.toString('latin1')), 'latin1'), { recursive: true });
    await writeFile(at, content);
  };
  beforeEach(async () => (folder = await realpath(await mkdtemp(join(tmpdir(), 'katafleet-drop-')))));
  afterEach(() => rm(folder, { recursive: true, force: true }));

  it('is taken by the list’s names, modes and times, in its order', async () => {
    await put('d/e/f', 'deep');
    await put('a b', 'bin\0ary');
    await put('not listed', 'x');
    const files = await readDrop(folder, [listed('d/e/f', 4), listed('a b', 7)]);
    assert.deepEqual(files, [
      { change: 'created', path: 'd/e/f', mode: 0o640, mtimeNs: 5n, content: Buffer.from('deep') },
      { change: 'created', path: 'a b', mode: 0o640, mtimeNs: 5n, content: Buffer.from('bin\0ary') },
    ]);
  });

  it('names of every kind', async () => {
    const name = fc
      .uint8Array({ minLength: 1, maxLength: 60 })
      .map((bytes) => decodePath(bytes))
      .filter((text) => pathFault(encodePath(text)) === undefined);
    const odd = fc.constantFrom('-rf', 'new\nline', 'q"\'', 'ünï☃', '\udcff', ' ', '.git/x', '...', '[a]*?', 'a'.repeat(255));
    await fc.assert(
      fc.asyncProperty(fc.oneof(name, odd), fc.uint8Array({ maxLength: 50 }), async (path, bytes) => {
        await rm(folder, { recursive: true });
        await mkdir(folder);
        await put(path, Buffer.from(bytes));
        const files = await readDrop(folder, [listed(path, bytes.length)]);
        assert.deepEqual(
          files?.map((file) => [file.path, file.content]),
          [[path, Buffer.from(bytes)]],
        );
      }),
      { numRuns: 150 },
    );
  });

  const refused: [string, (outside: string) => Promise<ListedFile>][] = [
    ['a file that is not there', async () => listed('absent', 0)],
    ['a file in a folder that is not there', async () => listed('no/absent', 0)],
    ['a file that is longer than listed', async () => (await put('f', 'longer'), listed('f', 3))],
    ['a file that is shorter than listed', async () => (await put('f', 'l'), listed('f', 3))],
    ['a link to a file', async (outside) => (await symlink(join(outside, 'victim'), join(folder, 'f')), listed('f', 6))],
    ['a link to a folder on the way', async (outside) => (await symlink(outside, join(folder, 'd')), listed('d/victim', 6))],
    ['a hard link', async () => (await put('g', 'secret'), await link(join(folder, 'g'), join(folder, 'f')), listed('f', 6))],
    ['a folder', async () => (await mkdir(join(folder, 'f')), listed('f', 40))],
    ['a pipe', async () => (await promisify(execFile)('mkfifo', [join(folder, 'f')]), listed('f', 0))],
    ['a file where a folder should be', async () => (await put('d', 'x'), listed('d/f', 1))],
    ['a name that climbs', async () => listed('../outside', 0)],
    ['a name that climbs on the way', async () => listed('a/../../outside', 0)],
  ];
  for (const [what, make] of refused) {
    it(`is not used for ${what}`, async () => {
      const outside = await mkdtemp(join(tmpdir(), 'katafleet-outside-'));
      try {
        await writeFile(join(outside, 'victim'), 'secret');
        const file = await make(outside);
        await put('good', 'good');
        assert.equal((await readDrop(folder, [listed('good', 4)]))?.length, 1);
        assert.equal(await readDrop(folder, [listed('good', 4), file]), undefined);
      } finally {
        await rm(outside, { recursive: true });
      }
    });
  }

  it('is bounded by what was listed', async () => {
    const bounds = dropBounds([listed('a/b/c', 10), listed('a/d', 2_000_000)]);
    assert.deepEqual(bounds, { bytes: 4_000_010 + 1024 * 1024, entries: 2 + 2 + 16 });
    await put('a/b/c', 'x'.repeat(10));
    assert.equal(await exceeds(folder, bounds), false);
    await put('\udcff/large', Buffer.alloc(5_100_000));
    assert.equal(await exceeds(folder, bounds), true, 'bytes, under a name that is no text');
    await rm(folder, { recursive: true });
    for (let index = 0; index < 21; index += 1) await put(`n${index}`, '');
    assert.equal(await exceeds(folder, bounds), true, 'entries');
    assert.equal(await exceeds(join(folder, 'gone'), bounds), false);
  });

  it('is bounded below what a path can say as well, and goes', async () => {
    const name = 'n'.repeat(250);
    const script = `cd "$1"; for i in $(seq 20); do mkdir ${name}; cd ${name}; done; head -c 9000000 /dev/zero > large`;
    await promisify(execFile)('bash', ['-ec', script, 'bash', folder]);
    assert.equal(await exceeds(folder, { bytes: 1024 * 1024, entries: 1_000 }), true);
    await removeDrops(folder);
    await removeDrops(folder);
    await assert.rejects(stat(folder), { code: 'ENOENT' });
  });
});
