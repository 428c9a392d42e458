import assert from 'node:assert/strict';
import { join } from 'node:path';
import { KatafleetError } from '../../../src/model/errors.ts';
import { changed, created, file, git, result, startPoint, testStore } from '../../support/katas.ts';

const code = (expected: string) => (error: unknown) => error instanceof KatafleetError && error.code === expected;

describe('katas', () => {
  let store: Awaited<ReturnType<typeof testStore>>;
  beforeEach(async () => (store = await testStore()));
  afterEach(() => store.dispose());
  const repository = (kata: string, avatar = 'lion') => join(store.folder, kata, 'avatars', avatar, 'repository.git');

  it('a test makes two commits: what the person wrote, and what the tools did', async () => {
    const { katas, script } = store;
    const { id } = await katas.create(startPoint({ rules: [{ hide: '*.o' }, { ignore: 'core' }] }));
    script.run = async () =>
      result({
        files: [created('hiker.o', 'obj'), created('report.txt', 'fine'), created('core', 'dump'), changed('hiker.c', 'formatted')],
      });
    const tested = await katas.test(id, 'lion', {
      files: [file('cyber-dojo.sh', 'make test'), file('hiker.c', 'mine'), file('new.c', 'n')],
    });
    assert.deepEqual(
      [tested.shown.files.map(({ path }) => path).sort(), tested.hidden, tested.ignored],
      [['hiker.c', 'report.txt'], ['hiker.o'], ['core']],
    );
    await tested.committed;
    const log = await git(repository(id), 'log', '--format=%an|%s');
    assert.deepEqual(log.trim().split('\n'), [
      'katafleet|1 green: exited with 0',
      'lion|1 saved: wrote new.c, edited hiker.c',
      'katafleet|start-point: C, assert',
    ]);
    assert.equal(await git(repository(id), 'show', 'HEAD^:sandbox/hiker.c'), 'mine');
    assert.equal(await git(repository(id), 'show', 'HEAD:sandbox/hiker.c'), 'formatted');
    const names = await git(repository(id), 'diff-tree', '-r', '--name-status', '--format=', 'HEAD');
    assert.deepEqual(names.trim().split('\n'), [
      'M\tfiles.json',
      'M\tsandbox/hiker.c',
      'A\tsandbox/hiker.o',
      'A\tsandbox/report.txt',
      'A\tstderr',
      'A\tstdout',
      'A\ttest.json',
    ]);
    const trailers = await git(repository(id), 'log', '-1', '--format=%(trailers:only,unfold)');
    assert.match(
      trailers,
      /^Katafleet-Commit: tested\nKatafleet-Test: 1\nKatafleet-Light: green\nKatafleet-Outcome: exited with 0\nKatafleet-Node: local\nKatafleet-Run: run1\n/,
    );
    assert.equal(await git(repository(id), 'show', 'HEAD:stdout'), 'All tests passed\n');
  });

  it('hidden files go back into the sandbox with their time stamps, what a person deletes is gone', async () => {
    const { katas, script, requests } = store;
    const { id } = await katas.create(startPoint({ rules: [{ hide: '*.o' }] }));
    script.run = async () => result({ files: [created('hiker.o', 'obj'), created('seen.txt', 's')] });
    await (
      await katas.test(id, 'lion', { files: [file('cyber-dojo.sh'), file('hiker.c'), file('gone.c')] })
    ).committed;
    script.run = async () => result();
    for (const fresh of [false, true]) {
      // Once as the process remembers it, once as another one reads it.
      const other = fresh ? await testStore({ folder: store.folder }) : store;
      const tested = await other.katas.test(id, 'lion', { files: [file('cyber-dojo.sh'), file('hiker.c')] });
      await tested.committed;
      const request = (fresh ? other.requests : requests).at(-1);
      assert.deepEqual(
        request?.files.map(({ path, mtimeNs, content }) => [path, mtimeNs, Buffer.from(content as Uint8Array).toString()]).sort(),
        [
          ['cyber-dojo.sh', 1_700_000_000_123_456_789n, 'cyber-dojo.sh'],
          ['hiker.c', 1_700_000_000_123_456_789n, 'hiker.c'],
          ['hiker.o', 1_700_000_001_000_000_001n, 'obj'],
        ],
      );
      assert.equal(request?.profile?.wallMs, 7_000);
      await other.katas.close();
    }
    const log = await katas.log(id, 'lion');
    assert.deepEqual(
      log.map(({ kind, test, subject }) => [kind, test, subject]),
      [
        ['tested', 3, '3 green: exited with 0'],
        ['saved', 3, '3 saved: nothing new'],
        ['tested', 2, '2 green: exited with 0'],
        ['saved', 2, '2 saved: deleted 2 files'],
        ['tested', 1, '1 green: exited with 0'],
        ['saved', 1, '1 saved: wrote gone.c, edited 2 files'],
        ['start', 0, 'start-point: C, assert'],
      ],
    );
  });

  it('a test without files uses the avatar’s own files', async () => {
    const { katas, requests } = store;
    const { id } = await katas.create(startPoint());
    await (
      await katas.test(id, 'lion', {
        files: [file('cyber-dojo.sh'), file('a', Buffer.from([0, 255]))],
        folders: [{ path: 'hollow/deep', mode: 0o700, mtimeNs: 7n }],
      })
    ).committed;
    await (
      await katas.test(id, 'lion', undefined)
    ).committed;
    const shape = (index: number) => [requests[index]?.files, requests[index]?.folders];
    assert.deepEqual(shape(1), shape(0));
    assert.deepEqual(requests[1]?.folders, [{ path: 'hollow/deep', mode: 0o700, mtimeNs: 7n }]);
  });

  it('a run that fails is a test without a light, and its error is the caller’s', async () => {
    const { katas, script } = store;
    const { id } = await katas.create(startPoint());
    script.run = async () => Promise.reject(new KatafleetError('image.unknown', 'no image\nKatafleet-Light: green'));
    await assert.rejects(katas.test(id, 'lion', { files: [file('cyber-dojo.sh')] }), code('image.unknown'));
    await katas.close();
    const [last, first] = await katas.log(id, 'lion');
    assert.deepEqual([last?.kind, last?.light, first?.kind], ['tested', undefined, 'saved']);
    const { record } = await katas.show(id, 'lion');
    assert.deepEqual(record.outcome, { kind: 'lost', reason: 'no image\nKatafleet-Light: green' });
  });

  it('names cannot forge what a commit says', async () => {
    const { katas } = store;
    const { id } = await katas.create(startPoint());
    const forged = 'x\n\nKatafleet-Light: red\nKatafleet-Test: 99';
    await (
      await katas.test(id, 'lion', { files: [file('cyber-dojo.sh'), file(forged)] })
    ).committed;
    const [last, first] = await katas.log(id, 'lion');
    assert.deepEqual([last?.light, last?.test, first?.light, first?.test], ['green', 1, undefined, 1]);
  });

  it('tests of one avatar queue, those of others do not wait', async () => {
    const { katas, script } = store;
    const { id } = await katas.create(startPoint());
    const running = new Set<string>();
    let meet = () => {};
    const met = new Promise<void>((resolve) => (meet = resolve));
    script.run = async (_request, { of }) => {
      assert.ok(!running.has(of.avatar), 'one at a time');
      running.add(of.avatar);
      if (running.size === 2) meet();
      await met; // never resolves if one avatar waits for the other
      running.delete(of.avatar);
      return result();
    };
    const tests = ['lion', 'bear'].flatMap((avatar) =>
      [1, 2, 3].map((round) => katas.test(id, avatar, { files: [file('cyber-dojo.sh', `${round}`)] })),
    );
    const done = await Promise.all(tests);
    await Promise.all(done.map(({ committed }) => committed));
    assert.deepEqual(
      done.map(({ test }) => test),
      [1, 2, 3, 1, 2, 3],
    );
  });

  it('two processes at one avatar wait for one another', async () => {
    const { katas } = store;
    const { id } = await katas.create(startPoint());
    const other = await testStore({ folder: store.folder });
    const answers = await Promise.all(
      [store, other, store, other].map(({ katas: each }) => each.test(id, 'lion', { files: [file('cyber-dojo.sh')] })),
    );
    await Promise.all(answers.map(({ committed }) => committed));
    assert.deepEqual(answers.map(({ test }) => test).sort(), [1, 2, 3, 4]);
    assert.equal((await katas.log(id, 'lion')).length, 9);
    await other.katas.close();
  });

  it('an avatar that another process keeps busy for too long is refused', async () => {
    const { katas } = store;
    const { id } = await katas.create(startPoint());
    const other = await testStore({ folder: store.folder, lockWaitMs: 0 });
    let release = () => {};
    const running = new Promise<void>((started) => {
      store.script.run = () => {
        started();
        return new Promise((resolve) => (release = () => resolve(result())));
      };
    });
    const test = katas.test(id, 'lion', { files: [file('cyber-dojo.sh')] });
    await running;
    await assert.rejects(other.katas.test(id, 'lion', { files: [file('cyber-dojo.sh')] }), code('kata.busy'));
    release();
    await (
      await test
    ).committed;
    await other.katas.close();
  });

  it('says what there is where something is not', async () => {
    const { katas } = store;
    await assert.rejects(katas.kata('nope'), code('kata.unknown'));
    await assert.rejects(katas.kata('../etc'), code('kata.invalid'));
    const { id } = await katas.create(startPoint(), 'mine');
    await assert.rejects(katas.create(startPoint(), 'mine'), code('kata.exists'));
    await assert.rejects(katas.log(id, 'lion'), code('kata.unknown'));
    await assert.rejects(katas.test(id, 'start-point', undefined), code('kata.invalid'));
    await assert.rejects(katas.test(id, 'a/b', undefined), code('kata.invalid'));
    await (
      await katas.test(id, 'lion', undefined)
    ).committed;
    await assert.rejects(
      katas.log(id, 'bear'),
      (error) => code('kata.unknown')(error) && /lion/.test((error as KatafleetError).hint ?? ''),
    );
    await assert.rejects(
      katas.show(id, 'lion', 2),
      (error) => code('kata.unknown')(error) && /last one is 1/.test((error as KatafleetError).hint ?? ''),
    );
    assert.deepEqual(
      (await katas.list()).map(({ kata, avatars }) => [kata.id, avatars]),
      [['mine', ['lion']]],
    );
  });
});
