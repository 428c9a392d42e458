import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { KatafleetError } from '../../../src/model/errors.ts';
import { importCommits } from '../../../src/katas/fast-import.ts';
import { Git, gitEnvironment } from '../../../src/katas/git.ts';
import { serveClones } from '../../../src/katas/serve.ts';
import { created, file, git, result, startPoint, testStore } from '../../support/katas.ts';

const exec = promisify(execFile);
const code = (expected: string) => (error: unknown) => error instanceof KatafleetError && error.code === expected;
const invalid = (why: RegExp) => (error: unknown) => code('bundle.invalid')(error) && why.test((error as Error).message);
/** A person's git. */
const plainGit = (...args: string[]) => exec('git', args, { env: { ...gitEnvironment(), HOME: '/nonexistent' } });

describe('katas that travel', () => {
  let store: Awaited<ReturnType<typeof testStore>>;
  let work: string;
  let id: string;
  beforeEach(async () => {
    [store, work] = [await testStore(), await mkdtemp(join(tmpdir(), 'katafleet-bundle-'))];
    ({ id } = await store.katas.create(startPoint({ rules: [{ hide: '*.o' }] })));
    store.script.run = async () => result({ files: [created('hiker.o', 'obj'), created('näme \n.txt', 'x')] });
    for (const avatar of ['lion', 'bear'])
      await (
        await store.katas.test(id, avatar, {
          files: [file('cyber-dojo.sh'), file('who', avatar)],
          folders: [{ path: 'hollow', mode: 0o755, mtimeNs: 3n }],
        })
      ).committed;
  });
  afterEach(async () => {
    await store.dispose();
    await rm(work, { recursive: true });
  });

  describe('as a bundle', () => {
    it('are a plain one, and come in again as they were', async () => {
      const bundle = join(work, 'kata.bundle');
      await store.katas.export(id, bundle);
      await plainGit('clone', '--quiet', '--branch', 'bear', bundle, join(work, 'clone'));
      assert.equal(await readFile(join(work, 'clone/sandbox/who'), 'utf8'), 'bear');
      const other = await testStore();
      try {
        const kata = await other.katas.import(bundle);
        assert.equal(kata.id, id);
        await assert.rejects(other.katas.import(bundle), code('kata.exists'));
        await other.katas.import(bundle, 'again');
        for (const avatar of ['lion', 'bear']) {
          assert.deepEqual(await other.katas.files(id, avatar, { hidden: true }), await store.katas.files(id, avatar, { hidden: true }));
          assert.deepEqual(await other.katas.log(id, avatar), await store.katas.log(id, avatar));
        }
        const next = await other.katas.test(id, 'lion', { files: [file('cyber-dojo.sh')] });
        await next.committed;
        assert.deepEqual([next.test, other.requests[0]?.files.map(({ path }) => path).sort()], [2, ['cyber-dojo.sh', 'hiker.o']]);
        await (
          await other.katas.test('again', 'new', undefined)
        ).committed;
        assert.deepEqual(
          (await other.katas.list()).map(({ kata: { id: each }, avatars }) => [each, avatars]).sort(),
          [
            ['again', ['bear', 'lion', 'new']],
            [id, ['bear', 'lion']],
          ].sort(),
        );
        assert.deepEqual(
          (await readdir(other.folder)).filter((name) => name.startsWith('.')),
          [],
          'nothing stays behind',
        );
      } finally {
        await other.dispose();
      }
    });

    it('has only one avatar if only one is asked for', async () => {
      const bundle = join(work, 'lion.bundle');
      await store.katas.export(id, bundle, 'lion');
      const { stdout } = await plainGit('bundle', 'list-heads', bundle);
      assert.deepEqual(
        stdout
          .trim()
          .split('\n')
          .map((line) => line.slice(41))
          .sort(),
        ['HEAD', 'refs/heads/lion', 'refs/heads/start-point'],
      );
      await assert.rejects(store.katas.export(id, join(work, 'no/such/folder'), 'lion'), code('output.unwritable'));
    });

    /** A bundle of a repository made for the purpose. */
    async function bundleOf(make: (repository: string, start: string) => Promise<void>): Promise<string> {
      const repository = join(work, 'evil.git');
      await plainGit('init', '--quiet', '--bare', '--initial-branch=main', repository);
      await plainGit(`--git-dir=${repository}`, 'fetch', '--quiet', join(store.folder, id, 'start.git'), 'main:start-point');
      await make(repository, (await git(repository, 'rev-parse', 'start-point')).trim());
      const bundle = join(work, 'evil.bundle');
      await plainGit(`--git-dir=${repository}`, 'bundle', 'create', '--quiet', bundle, '--branches');
      return bundle;
    }
    const refused = async (bundle: string, why: RegExp) => {
      await assert.rejects(store.katas.import(bundle, 'evil'), invalid(why));
      assert.deepEqual(
        [(await readdir(store.folder)).filter((name) => name.startsWith('.') || name === 'evil')],
        [[]],
        'nothing stays behind',
      );
    };
    const input = (repository: string, text: string | Buffer, ...args: string[]) =>
      new Git().run(repository, args, { input: Buffer.from(text) }).then((output) => output.toString().trim());

    it('is refused if it is not a bundle or is cut short', async () => {
      const bundle = join(work, 'kata.bundle');
      await writeFile(bundle, 'no bundle');
      await refused(bundle, /list-heads|bundle/);
      await store.katas.export(id, bundle);
      const whole = await readFile(bundle);
      await writeFile(bundle, whole.subarray(0, whole.length - 40));
      await refused(bundle, /./);
      await assert.rejects(store.katas.import(join(work, 'none')), code('file.unreadable'));
    });

    it('with a .git in a tree is refused by git’s own check', async () => {
      for (const name of ['.git', '.GIT', 'git~1', '.g\u200cit']) {
        const bundle = await bundleOf(async (repository, start) => {
          const blob = await input(repository, 'evil', 'hash-object', '-w', '--stdin');
          const inner = await input(repository, `100644 blob ${blob}\t${name}\0`, 'mktree', '-z');
          const tree = await input(repository, `040000 tree ${inner}\tsandbox\0`, 'mktree', '-z');
          const commit = (
            await git(repository, '-c', 'user.name=x', '-c', 'user.email=x@x', 'commit-tree', '-p', start, '-m', 'x', tree)
          ).trim();
          await git(repository, 'update-ref', 'refs/heads/lion', commit);
        });
        await refused(bundle, /hasDotgit|\.git/);
        await rm(join(work, 'evil.git'), { recursive: true });
      }
    });

    it('is refused with a branch that is not an avatar’s, without a start-point, or if it is not of a kata', async () => {
      await refused(
        await bundleOf(async (repository, start) => {
          await git(repository, 'update-ref', 'refs/heads/A/b', start);
        }),
        /not the branch of an avatar/,
      );
      await rm(join(work, 'evil.git'), { recursive: true });
      await refused(
        await bundleOf(async (repository) => {
          await git(repository, 'branch', '-M', 'start-point', 'lion');
        }),
        /no branch start-point/,
      );
      await rm(join(work, 'evil.git'), { recursive: true });
      await refused(
        await bundleOf(async (repository) => {
          await importCommits(
            new Git(),
            repository,
            [
              {
                author: { name: 'x', email: 'x' },
                at: 0,
                message: 'x',
                deletes: [],
                puts: [{ path: 'kata.json', content: Buffer.from('{}') }],
              },
            ],
            undefined,
          );
          await git(repository, 'branch', '-M', 'main', 'lion');
        }),
        /branch lion/,
      );
    });

    it('is refused if it unpacks to gigabytes', async function () {
      this.timeout(120_000);
      const bundle = await bundleOf(async (repository, start) => {
        await importCommits(
          new Git(),
          repository,
          [
            {
              author: { name: 'x', email: 'x' },
              at: 0,
              message: 'x',
              deletes: [],
              puts: [{ path: 'sandbox/zeros', content: Buffer.alloc(150 * 1024 * 1024) }],
            },
          ],
          start,
        );
        await git(repository, 'branch', '-M', 'main', 'lion');
      });
      assert.ok((await stat(bundle)).size < 1024 * 1024);
      await refused(bundle, /unfolds to/);
    });

    it('with links and gitlinks brings none of them in', async () => {
      const bundle = await bundleOf(async (repository, start) => {
        const blob = await input(repository, '/etc/passwd', 'hash-object', '-w', '--stdin');
        const kata = (await git(repository, 'rev-parse', `${start}:kata.json`)).trim();
        const inner = await input(repository, `100644 blob ${blob}\tplain\x00120000 blob ${blob}\tlink\0`, 'mktree', '-z');
        const tree = await input(repository, `100644 blob ${kata}\tkata.json\x00040000 tree ${inner}\tsandbox\0`, 'mktree', '-z');
        await git(
          repository,
          'update-ref',
          'refs/heads/lion',
          (await git(repository, '-c', 'user.name=x', '-c', 'user.email=x@x', 'commit-tree', '-p', start, '-m', 'x', tree)).trim(),
        );
      });
      await store.katas.import(bundle, 'linked');
      assert.deepEqual([...(await store.katas.files('linked', 'lion')).files.keys()], ['plain']);
    });
  });

  describe('as a clone over http', () => {
    let server: Server;
    let url: string;
    const troubles: string[] = [];
    beforeEach(async () => {
      const serve = serveClones({
        git: new Git(),
        repository: (kata, avatar) => store.katas.repository(kata, avatar),
        trouble: (text) => troubles.push(text),
      });
      server = createServer((request, response) => {
        const path = new URL(request.url ?? '/', 'http://localhost').pathname;
        void serve(path, request, response).then((served) => served || response.writeHead(404).end());
      });
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/${id}`;
    });
    afterEach(() => new Promise((resolve) => server.close(resolve)));

    it('a real git clones, and fetches what is new', async () => {
      for (const version of ['0', '2']) {
        const clone = join(work, `clone${version}`);
        await plainGit('-c', `protocol.version=${version}`, 'clone', '--quiet', `${url}/lion.git`, clone);
        assert.equal(await readFile(join(clone, 'sandbox/who'), 'utf8'), 'lion');
        await (
          await store.katas.test(id, 'lion', { files: [file('cyber-dojo.sh'), file('who', `new ${version}`)] })
        ).committed;
        await plainGit('-C', clone, '-c', `protocol.version=${version}`, 'pull', '--quiet', '--ff-only');
        assert.equal(await readFile(join(clone, 'sandbox/who'), 'utf8'), `new ${version}`);
        await (
          await store.katas.test(id, 'lion', { files: [file('cyber-dojo.sh'), file('who', 'lion')] })
        ).committed;
      }
      assert.deepEqual(troubles, []);
    });

    it('refuse a push, and answer not found for a missing repository', async () => {
      const clone = join(work, 'clone');
      await plainGit('clone', '--quiet', `${url}/lion.git`, clone);
      await assert.rejects(plainGit('-C', clone, 'push', 'origin', 'HEAD:refs/heads/evil'), /403/);
      await assert.rejects(plainGit('clone', '--quiet', `${url}/tiger.git`, join(work, 'x')), /404|not found/);
      await assert.rejects(plainGit('clone', '--quiet', `${url}/..%2flion.git`, join(work, 'x')), /400|404|not found/i);
      const dumb = await fetch(`${url}/lion.git/info/refs`);
      assert.equal(dumb.status, 403);
      assert.equal((await fetch(`${url}/lion.git/config`)).status, 404);
      assert.equal((await fetch(`${url}/lion.git/git-upload-pack`)).status, 405);
    });

    it('nonsense is answered, and more than a client has to ask is refused', async () => {
      const post = (body: Buffer, headers = {}) =>
        fetch(`${url}/lion.git/git-upload-pack`, { method: 'POST', body: new Uint8Array(body), headers });
      for (const body of [Buffer.from('nonsense'), Buffer.alloc(5 * 1024 * 1024, 'x')]) {
        const answer = await post(body)
          .then((response) => response.arrayBuffer())
          .then(
            () => 'ended',
            () => 'broken off',
          );
        assert.ok(['ended', 'broken off'].includes(answer));
      }
      await post(Buffer.from('no gzip'), { 'content-encoding': 'gzip' })
        .then((response) => response.arrayBuffer())
        .catch(() => undefined);
      await plainGit('clone', '--quiet', `${url}/lion.git`, join(work, 'after'));
    });
  });
});
