import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { main } from '../../../src/cli/program.ts';
import { created, file, result, startPoint, testStore } from '../../support/katas.ts';

describe('katafleet kata', () => {
  let store: Awaited<ReturnType<typeof testStore>>;
  let work: string;
  beforeEach(async () => {
    [store, work] = [await testStore(), await mkdtemp(join(tmpdir(), 'katafleet-cli-'))];
    await store.katas.create(startPoint({ rules: [{ hide: '*.o' }] }), 'mine');
    store.script.run = async () => result({ files: [created('hiker.o'), created('re\x1b[31mport', 'r'), created('d/run', 'x', 0o755)] });
    await (
      await store.katas.test('mine', 'lion', { files: [file('cyber-dojo.sh')] })
    ).committed;
  });
  afterEach(async () => {
    await store.dispose();
    await rm(work, { recursive: true });
  });

  /** What the command prints on stdout and stderr, and its exit code. */
  async function kata(...args: string[]): Promise<{ code: number; out: string; err: string }> {
    const said = { out: '', err: '' };
    const [out, err] = [process.stdout.write.bind(process.stdout), process.stderr.write.bind(process.stderr)];
    const take = (name: 'out' | 'err') =>
      ((chunk: string | Uint8Array) => ((said[name] += Buffer.from(chunk as Uint8Array).toString()), true)) as typeof process.stdout.write;
    process.stdout.write = take('out');
    process.stderr.write = take('err');
    try {
      return { code: await main(['kata', '--store', store.folder, ...args]), ...said };
    } finally {
      process.stdout.write = out;
      process.stderr.write = err;
    }
  }

  it('makes a kata from a start-point that comes with it, or from a folder', async () => {
    assert.deepEqual(await kata('create', 'c-approval', '--id', 'walls'), { code: 0, out: 'walls\n', err: '' });
    const own = await kata('create', fileURLToPath(new URL('../../../images/gcc-assert/start_point', import.meta.url)));
    assert.match(own.out, /^[a-z2-9]{10}\n$/);
    const list = await kata('list');
    assert.match(list.out, /^KATA +START-POINT +IMAGE +AGE +AVATARS\n/);
    assert.match(list.out, /\nwalls +C \(gcc\), approval test +gcc-assert +\S.* +-\n/);
    assert.match(list.out, /\nmine +C, assert +gcc-assert .* lion\n/);
    const again = await kata('create', 'c-approval', '--id', 'walls');
    assert.deepEqual([again.code, /there is a kata walls already/.test(again.err)], [73, true]);
    assert.equal((await kata('create', join(work, 'none'))).code, 64);
  });

  it('shows the tests, one of them, and the files, with nothing that steers a terminal', async () => {
    const log = await kata('log', 'mine', 'lion');
    assert.match(
      log.out,
      /^TEST +LIGHT +HOW IT ENDED +WHAT WAS WRITTEN +AGE +NODE +COMMIT\n1 +green +exited with 0 +edited cyber-dojo\.sh, deleted hiker\.c +/,
    );
    const show = await kata('show', 'mine', 'lion');
    assert.equal(show.out, 'All tests passed\n');
    assert.match(show.err, /● green +exited with 0 +test 1, .* on local\n {2}\+ hiker\.o +out of sight\n {2}\+ re\\x1b\[31mport\n/);
    const files = await kata('files', 'mine', 'lion');
    assert.match(files.out, /0755 +1 B +2023-11-14T22:13:21 +d\/run\n/);
    assert.ok(!files.out.includes('hiker.o') && !files.out.includes('\x1b'));
    assert.match((await kata('files', 'mine', 'lion', '--all')).out, /out of sight +hiker\.o/);
    const none = await kata('show', 'mine', 'lion', '7');
    assert.deepEqual([none.code, /its last one is 1/.test(none.err)], [66, true]);
    assert.equal((await kata('show', 'mine', 'lion', 'x')).code, 64);
  });

  it('speaks JSON', async () => {
    const json = async (...args: string[]): Promise<unknown> => JSON.parse((await kata(...args, '--json')).out);
    const [kept] = (await json('list')) as { id: string; avatars: string[] }[];
    assert.deepEqual([kept?.id, kept?.avatars], ['mine', ['lion']]);
    assert.deepEqual(
      ((await json('log', 'mine', 'lion')) as { kind: string }[]).map(({ kind }) => kind),
      ['tested', 'saved', 'start'],
    );
    const shown = (await json('show', 'mine', 'lion')) as { light: string; stdout: string; hidden: string[] };
    assert.deepEqual([shown.light, shown.stdout, shown.hidden], ['green', 'All tests passed\n', ['hiker.o']]);
    const { files } = (await json('files', 'mine', 'lion')) as { files: { path: string; content: string; mtimeNs: string }[] };
    assert.deepEqual(
      files.find(({ path }) => path === 'd/run'),
      { path: 'd/run', mode: 0o755, mtimeNs: '1700000001000000001', hidden: false, content: 'eA==' },
    );
  });

  it('writes the files into a folder that is empty, and into no other', async () => {
    const out = join(work, 'out');
    assert.deepEqual(await kata('files', 'mine', 'lion', '--out', out), { code: 0, out: '', err: '' });
    assert.equal(await readFile(join(out, 'd/run'), 'utf8'), 'x');
    await writeFile(join(out, 'new'), 'new');
    const again = await kata('files', 'mine', 'lion', '--out', out);
    assert.deepEqual([again.code, /is not empty/.test(again.err)], [73, true]);
  });

  it('carries a kata from one store to another', async () => {
    const bundle = join(work, 'mine.bundle');
    assert.equal((await kata('export', 'mine', '--out', bundle)).out, `${bundle}\n`);
    assert.equal((await kata('import', bundle, '--id', 'yours')).out, 'yours\n');
    assert.deepEqual(await store.katas.log('yours', 'lion'), await store.katas.log('mine', 'lion'));
    await writeFile(bundle, 'x');
    assert.equal((await kata('import', bundle)).code, 65);
  });
});
