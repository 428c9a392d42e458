import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { KatafleetError } from '../../../src/model/errors.ts';
import { created, file, git, result, startPoint, testStore } from '../../support/katas.ts';

const exec = promisify(execFile);
const code = (expected: string) => (error: unknown) => error instanceof KatafleetError && error.code === expected;

describe('katas under load and in need', function () {
  this.timeout(120_000);

  it('200 avatars test at once, and all their commits are made', async () => {
    const store = await testStore();
    try {
      const { id } = await store.katas.create(startPoint());
      store.script.run = async (_request, { of }) => result({ files: [created(`${of.avatar}.txt`)] });
      const names = Array.from({ length: 200 }, (_, index) => `avatar-${index}`);
      const tests = await Promise.all(
        names.map((name) => store.katas.test(id, name, { files: [file('cyber-dojo.sh'), file('who', name)] })),
      );
      await Promise.all(tests.map(({ committed }) => committed));
      assert.deepEqual(store.troubles, []);
      for (const name of names.filter((_name, index) => index % 20 === 0)) {
        assert.deepEqual(
          (await store.katas.log(id, name)).map(({ kind }) => kind),
          ['tested', 'saved', 'start'],
        );
        assert.deepEqual([...(await store.katas.files(id, name)).files.keys()].sort(), [`${name}.txt`, 'cyber-dojo.sh', 'who']);
      }
    } finally {
      await store.dispose();
    }
  });

  it('many tests leave few packs, and a history that is whole', async () => {
    const store = await testStore();
    try {
      const { id } = await store.katas.create(startPoint());
      for (let round = 1; round <= 65; round += 1)
        await (
          await store.katas.test(id, 'lion', { files: [file('cyber-dojo.sh', `${round}`)] })
        ).committed;
      const repository = join(store.folder, id, 'avatars/lion/repository.git');
      const packs = (await readdir(join(repository, 'objects/pack'))).filter((name) => name.endsWith('.pack'));
      assert.ok(packs.length < 60, `${packs.length} packs`);
      assert.equal((await store.katas.log(id, 'lion')).length, 131);
      await git(repository, 'fsck', '--strict');
    } finally {
      await store.dispose();
    }
  });

  describe('on a disk that is full', () => {
    let disk: string;
    let store: Awaited<ReturnType<typeof testStore>>;
    let id: string;
    before(function () {
      if (process.platform !== 'linux' || process.getuid?.() !== 0) this.skip();
    });
    beforeEach(async () => {
      disk = await mkdtemp(join(tmpdir(), 'katafleet-disk-'));
      await exec('mount', ['-t', 'tmpfs', '-o', 'size=4m', 'tmpfs', disk]);
      store = await testStore({ folder: join(disk, 'katas'), retries: { tries: 200, firstMs: 20, mostMs: 50 } });
      ({ id } = await store.katas.create(startPoint()));
    });
    afterEach(async () => {
      await store.katas.close();
      await exec('umount', [disk]);
      await rm(disk, { recursive: true });
    });

    /** Leaves no room for as much as a byte. */
    async function fill(): Promise<void> {
      await assert.rejects(writeFile(join(disk, 'ballast'), Buffer.alloc(8 * 1024 * 1024)), /ENOSPC/);
    }

    it('a new avatar’s result is given, and its commits are made when there is room', async () => {
      await fill();
      store.script.run = async () => result({ files: [created('report.txt')] });
      const first = await store.katas.test(id, 'lion', { files: [file('cyber-dojo.sh'), file('mine')] });
      const second = await store.katas.test(id, 'lion', { files: [file('cyber-dojo.sh', '2'), file('mine')] });
      assert.deepEqual([first.result.light, second.test], ['green', 2]);
      assert.ok(store.troubles.length > 0, 'it is told');
      await rm(join(disk, 'ballast'));
      await Promise.all([first.committed, second.committed]);
      assert.deepEqual(
        (await store.katas.log(id, 'lion')).map(({ kind, test }) => `${kind} ${test}`),
        ['tested 2', 'saved 2', 'tested 1', 'saved 1', 'start 0'],
      );
      await git(join(disk, 'katas', id, 'avatars/lion/repository.git'), 'fsck', '--strict');
    });

    it('tries leave nothing behind that fills it further', async () => {
      await (
        await store.katas.test(id, 'lion', undefined)
      ).committed;
      await fill();
      const tested = await store.katas.test(id, 'lion', { files: [file('cyber-dojo.sh', Buffer.alloc(100_000, 1))] });
      await new Promise((resolve) => setTimeout(resolve, 500)); // some tries fail meanwhile: nothing tells of each
      const left = await readdir(join(disk, 'katas', id, 'avatars/lion/repository.git'), { recursive: true });
      assert.ok(left.filter((name) => /tmp_|crash/.test(name)).length <= 2, left.join(' '));
      await rm(join(disk, 'ballast'));
      await tested.committed;
    });

    it('after the last try it is told, and the next test goes on from what is there', async () => {
      await store.katas.close();
      store = await testStore({ folder: join(disk, 'katas'), retries: { tries: 2, firstMs: 1, mostMs: 1 } });
      await (
        await store.katas.test(id, 'lion', undefined)
      ).committed;
      await fill();
      const lost = await store.katas.test(id, 'lion', { files: [file('cyber-dojo.sh', 'x'.repeat(10_000))] });
      await assert.rejects(lost.committed, code('kata.storage'));
      await rm(join(disk, 'ballast'));
      const next = await store.katas.test(id, 'lion', { files: [file('cyber-dojo.sh', 'next')] });
      await next.committed;
      const log = await store.katas.log(id, 'lion');
      assert.deepEqual([log[0]?.kind, log[0]?.test, log[1]?.kind], ['tested', next.test, 'saved']);
    });
  });
});
