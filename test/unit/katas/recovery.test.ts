import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { until } from '../../support/until.ts';
import { file, git, startPoint, testStore } from '../../support/katas.ts';

const program = fileURLToPath(new URL('../../support/kata-child.ts', import.meta.url));

describe('a katafleet that is killed', function () {
  this.timeout(120_000);
  let store: Awaited<ReturnType<typeof testStore>>;
  let id: string;
  let child: ChildProcess | undefined;
  beforeEach(async () => {
    store = await testStore();
    ({ id } = await store.katas.create(startPoint()));
  });
  afterEach(() => {
    child?.kill('SIGKILL');
    return store.dispose();
  });
  const pending = () => readdir(join(store.folder, id, 'avatars/lion/pending')).catch(() => [] as string[]);
  const log = async () => (await store.katas.log(id, 'lion')).map(({ kind, test, light }) => [kind, test, light]);

  /** Starts one; `at` resolves when it has said a word. */
  function start(how: 'hang' | 'answer', path?: string) {
    const started = spawn(process.execPath, ['--import', 'tsx', program, store.folder, id, how], {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, ...(path === undefined ? {} : { PATH: `${path}:${process.env['PATH'] ?? ''}` }) },
    });
    child = started;
    const said = new Set<string>();
    createInterface(started.stdout).on('line', (line) => said.add(line));
    return { at: (word: string) => until(() => said.has(word)), said };
  }

  async function kill(): Promise<void> {
    const ended = once(child ?? assert.fail(), 'close');
    child?.kill('SIGKILL');
    await ended;
  }

  /** A folder with a `git` that does this when it is to make commits. `$real` is git, `$mark` a file to make. */
  async function slowGit(script: string): Promise<{ path: string; mark: string }> {
    const [path, mark] = [join(store.folder, '.bin'), join(store.folder, '.mark')];
    await mkdir(path);
    const real = (process.env['PATH'] ?? '').split(':').map((each) => join(each, 'git'));
    const found = await Promise.any(real.map((each) => readFile(each).then(() => each)));
    await writeFile(
      join(path, 'git'),
      `#!/bin/bash\nreal=${found} mark=${mark}\nhang() { while kill -0 $PPID 2> /dev/null; do sleep 0.02; done; }\ncase " $* " in *' fast-import '*) ${script} ;; *) exec $real "$@" ;; esac\n`,
    );
    await chmod(join(path, 'git'), 0o755);
    return { path, mark };
  }

  it('while the test runs: the files are kept, the test has no light', async () => {
    await start('hang').at('running');
    await kill();
    assert.equal(await store.katas.recover(), 1);
    assert.deepEqual(await log(), [
      ['tested', 1, undefined],
      ['saved', 1, undefined],
      ['start', 0, undefined],
    ]);
    assert.match((await store.katas.show(id, 'lion')).record.outcome.kind, /lost/);
    assert.deepEqual([...(await store.katas.files(id, 'lion')).files.keys()].sort(), ['cyber-dojo.sh', 'mine.c']);
    assert.deepEqual(await pending(), []);
  });

  it('between the two commits: the second is made', async () => {
    await start('hang').at('running');
    await until(async () => (await log().catch(() => []))[0]?.[0] === 'saved');
    await kill();
    assert.equal(await store.katas.recover(), 1);
    assert.deepEqual(await log(), [
      ['tested', 1, undefined],
      ['saved', 1, undefined],
      ['start', 0, undefined],
    ]);
  });

  it('after it answered, before git began: both commits are made, as it answered', async () => {
    const { path, mark } = await slowGit('touch $mark; hang');
    const one = start('answer', path);
    await one.at('answered');
    await until(() =>
      readFile(mark).then(
        () => true,
        () => false,
      ),
    );
    await kill();
    assert.equal(await store.katas.recover(), 1);
    assert.deepEqual(await log(), [
      ['tested', 1, 'green'],
      ['saved', 1, undefined],
      ['start', 0, undefined],
    ]);
    assert.deepEqual([...(await store.katas.files(id, 'lion')).files.keys()].sort(), ['cyber-dojo.sh', 'mine.c', 'report.txt']);
    assert.equal((await store.katas.show(id, 'lion')).stdout.toString(), 'All tests passed\n');
  });

  it('while git reads the commits: they are made whole', async () => {
    const { path, mark } = await slowGit('head -c 300 > $mark; hang');
    const one = start('answer', path);
    await one.at('answered');
    await until(() =>
      readFile(mark).then(
        (bytes) => bytes.length > 0,
        () => false,
      ),
    );
    await kill();
    assert.equal(await store.katas.recover(), 1);
    assert.deepEqual(await log(), [
      ['tested', 1, 'green'],
      ['saved', 1, undefined],
      ['start', 0, undefined],
    ]);
  });

  it('after git made the commits: they are not made twice', async () => {
    const { path, mark } = await slowGit('$real "$@"; touch $mark; hang');
    const one = start('answer', path);
    await one.at('answered');
    await until(() =>
      readFile(mark).then(
        () => true,
        () => false,
      ),
    );
    await kill();
    assert.equal((await pending()).length, 1);
    await store.katas.recover();
    await until(async () => (await pending()).length === 0);
    assert.deepEqual(
      (await log()).map(([kind]) => kind),
      ['tested', 'saved', 'start'],
    );
  });

  it('leaves nothing behind that a later test stumbles over', async () => {
    const { path, mark } = await slowGit('head -c 300 | $real "$@"; touch $mark; hang');
    const one = start('answer', path);
    await one.at('running');
    await until(() =>
      readFile(mark).then(
        () => true,
        () => false,
      ),
    );
    await kill();
    const tested = await store.katas.test(id, 'lion', { files: [file('cyber-dojo.sh')] });
    await tested.committed;
    assert.equal(tested.test, 2, 'the first one is taken up before');
    assert.deepEqual(
      (await log()).map(([kind, test]) => `${kind} ${test}`),
      ['tested 2', 'saved 2', 'tested 1', 'saved 1', 'start 0'],
    );
    await git(join(store.folder, id, 'avatars/lion/repository.git'), 'fsck', '--strict');
  });

  it('leaves the avatars of others alone, whose katafleet lives', async () => {
    const one = start('hang');
    await one.at('running');
    assert.equal(await store.katas.recover(), 0, 'it is at work');
    assert.equal((await pending()).length, 1);
  });

  it('an intent that was not written whole was never one', async () => {
    const { path } = await slowGit('hang');
    await start('hang', path).at('running');
    await kill();
    const [name = ''] = await pending();
    const avatar = join(store.folder, id, 'avatars/lion');
    await truncate(join(avatar, 'pending', name), 40);
    await rm(join(avatar, 'repository.git'), { recursive: true, force: true }); // nothing is begun before it is whole
    assert.equal(await store.katas.recover(), 0);
    await assert.rejects(log(), /no avatar/);
  });
});
