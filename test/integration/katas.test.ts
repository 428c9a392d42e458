import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Katafleet, RunRequest } from '../../src/app/library.ts';
import type { KataFiles, WholeFile } from '../../src/katas/kata-files.ts';
import { Katas } from '../../src/katas/store.ts';
import { testFleet } from '../support/fleet.ts';
import { file, git, startPoint } from '../support/katas.ts';

const startPoints = fileURLToPath(new URL('../../start-points/', import.meta.url));

describe('katas, in real containers', function () {
  this.timeout(120_000);
  let fleet: Katafleet;
  let folder: string;
  let katas: Katas;
  const requests: RunRequest[] = [];
  before(() => (fleet = testFleet()));
  after(() => fleet.close());
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'katafleet-katas-'));
    katas = new Katas({
      folder,
      run: (request, { signal, onOutput }) => {
        requests.push(request);
        return fleet.run(request, { ...(signal ? { signal } : {}), ...(onOutput ? { onOutput } : {}) });
      },
      trouble: (text) => assert.fail(text),
    });
  });
  afterEach(async () => {
    await katas.close();
    await rm(folder, { recursive: true });
  });

  const content = (sandbox: KataFiles, path: string) =>
    Buffer.from(sandbox.files.get(path)?.content ?? assert.fail(`no ${path}`)).toString();
  /** What the person has before them, with some of it edited, added (text) or deleted (undefined). */
  async function edit(id: string, edits: Record<string, string | undefined>): Promise<WholeFile[]> {
    const { files } = await katas.files(id, 'lion');
    const kept = [...files]
      .filter(([path]) => !(path in edits))
      .map(([path, { mode, mtimeNs, content: bytes = Buffer.alloc(0) }]) => ({ path, mode, mtimeNs, content: bytes }));
    const now = BigInt(Date.now()) * 1_000_000n;
    return [...kept, ...Object.entries(edits).flatMap(([path, text]) => (text === undefined ? [] : [file(path, text, { mtimeNs: now })]))];
  }

  it('C with gcov: the report comes back, and only what was edited is compiled again', async () => {
    const { id } = await katas.create(join(startPoints, 'c-gcov'));
    const red = await katas.test(id, 'lion', undefined);
    await red.committed;
    assert.equal(red.result.light, 'red');
    assert.deepEqual(red.shown.files.map(({ path }) => path).sort(), ['coverage.txt', 'hiker.c.gcov']);
    assert.deepEqual(red.hidden.filter((path) => path.endsWith('.o')).sort(), ['hiker.o', 'hiker.tests.o']);
    assert.ok(red.ignored.includes('hiker.gcda'));
    const before = await katas.files(id, 'lion', { hidden: true });
    const green = await katas.test(id, 'lion', {
      files: await edit(id, { 'hiker.c': content(before, 'hiker.c').replace('6 * 9', '6 * 7') }),
    });
    await green.committed;
    assert.equal(green.result.light, 'green', green.result.steps[0]?.stderr.toString());
    const after = await katas.files(id, 'lion', { hidden: true });
    assert.match(content(after, 'hiker.c.gcov'), /1: +6: +return 6 \* 7;\n +#####:/);
    const built = (sandbox: KataFiles, path: string) => sandbox.files.get(path)?.mtimeNs;
    assert.equal(built(after, 'hiker.tests.o'), built(before, 'hiker.tests.o'), 'it was not compiled again');
    assert.notEqual(built(after, 'hiker.o'), built(before, 'hiker.o'));
  });

  it('an approval test: what is received comes back, and is approved by the next commit', async () => {
    const { id } = await katas.create(join(startPoints, 'c-approval'));
    const red = await katas.test(id, 'lion', undefined);
    await red.committed;
    assert.deepEqual([red.result.light, red.hidden], ['red', ['hiker']]);
    const received = content(await katas.files(id, 'lion'), 'hiker.received.txt');
    assert.match(received, /^3 bottles/);
    const green = await katas.test(id, 'lion', {
      files: await edit(id, { 'hiker.received.txt': undefined, 'hiker.approved.txt': received }),
    });
    await green.committed;
    assert.equal(green.result.light, 'green', green.result.steps[0]?.stdout.toString());
    assert.deepEqual(
      (await katas.log(id, 'lion')).slice(0, 2).map(({ subject }) => subject),
      ['2 green: exited with 0', '2 saved: edited hiker.approved.txt, deleted hiker.received.txt'],
    );
  });

  it('Python with coverage: the report is shown, the pages kept out of sight, the cache ignored', async () => {
    const { id } = await katas.create(join(startPoints, 'python-coverage'));
    const red = await katas.test(id, 'lion', undefined);
    await red.committed;
    assert.equal(red.result.light, 'red', red.result.steps[0]?.stderr.toString());
    assert.deepEqual(
      red.shown.files.map(({ path }) => path),
      ['coverage.txt'],
    );
    assert.ok(red.hidden.includes('htmlcov/index.html'));
    assert.ok(red.ignored.some((path) => path.startsWith('__pycache__/')));
    const { files } = await katas.files(id, 'lion');
    assert.match(content({ files, folders: new Map() }, 'coverage.txt'), /hiker\.py .* 67%/);
    const green = await katas.test(id, 'lion', { files: await edit(id, { 'hiker.py': 'def answer():\n    return 6 * 7\n' }) });
    await green.committed;
    assert.equal(green.result.light, 'green', green.result.steps[0]?.stderr.toString());
    assert.match(content(await katas.files(id, 'lion'), 'coverage.txt'), /hiker\.py .* 100%/);
  });

  it('whatever a program leaves comes back as it was, but nothing that could pass for a repository', async () => {
    const script = `
      git init -q . && git init -q sub && mkdir -p x/.GIT && echo evil > x/.GIT/config && mkdir 'git~1' && echo evil > 'git~1/config'
      printf 'a\\0\\377' > "$(printf 'new\\nline \\377')"; touch -d @1.000000001 -- -rf; mkdir -p hollow/deep; mkfifo pipe; ln -s /etc/passwd link
      rm -r d && echo flat > d; mv readme README; chmod 755 README`;
    const { id } = await katas.create(startPoint({}, [file('cyber-dojo.sh', script), file('d/a'), file('d/b'), file('readme')]));
    const tested = await katas.test(id, 'lion', undefined, { profile: { wallMs: 20_000 } });
    await tested.committed;
    assert.deepEqual(tested.result.outcome, { kind: 'exited', code: 0 }, tested.result.steps[0]?.stderr.toString());
    const sandbox = await katas.files(id, 'lion');
    assert.deepEqual([...sandbox.files.keys()].sort(), ['-rf', 'README', 'cyber-dojo.sh', 'd', 'new\nline \udcff']);
    assert.deepEqual(
      [
        sandbox.files.get('-rf')?.mtimeNs,
        sandbox.files.get('README')?.mode,
        content(sandbox, 'new\nline \udcff'),
        [...sandbox.folders.keys()],
      ],
      [1_000_000_001n, 0o755, Buffer.from('a\0\xff', 'latin1').toString(), ['hollow/deep']],
    );
    const reasons = (reason: string) => tested.shown.omitted.filter((each) => each.reason === reason).map(({ path }) => path);
    assert.ok(reasons('git_folder').some((path) => path.startsWith('sub/.git/')));
    assert.deepEqual(
      reasons('git_folder')
        .filter((path) => /^(x|git~1)\//.test(path))
        .sort(),
      ['git~1/config', 'x/.GIT/config'],
    );
    assert.deepEqual([reasons('fifo'), reasons('symlink')], [['pipe'], ['link']]);
    const repository = join(folder, id, 'avatars/lion/repository.git');
    await git(repository, 'fsck', '--strict');
    assert.doesNotMatch(await git(repository, 'ls-tree', '-r', '--name-only', 'HEAD'), /\.git\/|GIT|git~1/);
    // What the next test finds is what this one left.
    await (
      await katas.test(id, 'bear', {
        files: [...sandbox.files].map(([path, { mode, mtimeNs, content: bytes = Buffer.alloc(0) }]) => ({
          path,
          mode,
          mtimeNs,
          content: path === 'cyber-dojo.sh' ? Buffer.from('stat -c "%n %.9Y %a" -- -rf README; cat d') : bytes,
        })),
      })
    ).committed;
    assert.match((await katas.show(id, 'bear')).stdout.toString(), /^-rf 1\.000000001 644\nREADME \d+\.\d+ 755\nflat\n$/);
  });

  it('a file over the cap is left out, and told', async () => {
    const { id } = await katas.create(startPoint({}, [file('cyber-dojo.sh', 'truncate -s 100M large; echo small > small')]));
    const tested = await katas.test(id, 'lion', undefined);
    await tested.committed;
    assert.deepEqual(
      [tested.shown.omitted, tested.shown.files.map(({ path }) => path)],
      [[{ path: 'large', reason: 'too_large' }], ['small']],
    );
    assert.deepEqual((await katas.show(id, 'lion')).record.leftOut, [{ path: 'large', reason: 'too_large' }]);
  });
});
