import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { readFolder } from '../../src/cli/files/folder.ts';
import { readInput } from '../../src/cli/files/stdin.ts';
import { KatafleetError } from '../../src/model/errors.ts';
import { readManifest } from '../../src/images/start-point.ts';

const silent = (words: string) => assert.equal(words, '', 'nothing is to be told');
const code = (expected: string) => (error: unknown) => error instanceof KatafleetError && error.code === expected;

describe('what the command line reads', () => {
  let folder: string;
  beforeEach(async () => (folder = await mkdtemp(join(tmpdir(), 'katafleet-input-'))));
  afterEach(() => rm(folder, { recursive: true, force: true }));

  it('takes a link to a folder for the folder', async () => {
    await mkdir(join(folder, 'real'));
    await writeFile(join(folder, 'real/a'), 'x');
    await symlink('real', join(folder, 'link'));
    const { files } = await readFolder(join(folder, 'link'));
    assert.deepEqual(
      files.map(({ path }) => path),
      ['a'],
    );
  });

  it('reads a folder in which files come and go all the time', async () => {
    await writeFile(join(folder, 'stays'), 'x');
    const noise = `const fs = require('node:fs'); process.stdout.write('.');
      for (;;) { for (let i = 0; i < 50; i++) { fs.mkdirSync('d' + i); fs.writeFileSync('d' + i + '/f', 'x'); fs.writeFileSync('t' + i, 'x'); }
        for (let i = 0; i < 50; i++) { fs.unlinkSync('t' + i); fs.rmSync('d' + i, { recursive: true }); } }`;
    const child = spawn(process.execPath, ['-e', noise], { cwd: folder, stdio: ['ignore', 'pipe', 'inherit'] });
    try {
      await once(child.stdout, 'data');
      for (let round = 0; round < 100; round += 1) {
        const { files } = await readFolder(folder);
        assert.ok(files.some(({ path }) => path === 'stays'));
      }
    } finally {
      child.kill('SIGKILL');
      await once(child, 'close');
    }
  });

  it('tells a start-point’s manifest from others of that name', async () => {
    const write = (body: string) => writeFile(join(folder, 'manifest.json'), body);
    for (const other of ['{"manifest_version": 3}', '[1]', 'null', '// no JSON', '{"short_name": "x", "files": ["a"]}']) {
      await write(other);
      assert.equal(await readManifest(folder, 'or another kind'), undefined, other);
      await assert.rejects(readManifest(folder), code('recipe.invalid'), other);
    }
    await write('{"image_name": "x"}');
    await assert.rejects(readManifest(folder, 'or another kind'), code('recipe.invalid'));
  });

  it('reads the input of a run from a named file, within its bound', async () => {
    const file = join(folder, 'in');
    await writeFile(file, Buffer.from([0, 0xff]));
    assert.deepEqual(await readInput(file, silent), Buffer.from([0, 0xff]));
    await assert.rejects(readInput(join(folder, 'none'), silent), code('file.unreadable'));
    await writeFile(file, Buffer.alloc(64 * 1024 * 1024 + 1));
    await assert.rejects(readInput(file, silent), code('files.too_large'));
  });

  it('takes a pipe or a file for the input of a run, not a socket and not a terminal', async () => {
    const module = fileURLToPath(new URL('../../src/cli/files/stdin.ts', import.meta.url));
    const script = `import(${JSON.stringify(module)}).then(async ({ readInput }) => console.log(JSON.stringify({ read: (await readInput(undefined, console.error))?.toString() })))`;
    const child = (stdin: string, input?: string) => {
      const line = `${stdin} "$NODE" --import tsx -e "$SCRIPT" ${input ?? ''}`;
      return spawn('bash', ['-c', line], {
        env: { ...process.env, NODE: process.execPath, SCRIPT: script },
        stdio: ['pipe', 'pipe', 'inherit'],
      });
    };
    await writeFile(join(folder, 'in'), 'file');
    const [piped, named, socket, closed] = [child('printf hi |'), child('', `< ${folder}/in`), child(''), child('', '<&-')];
    // The socket is never ended: a run must not wait for it.
    const read = await Promise.all([piped, named, socket, closed].map(({ stdout }) => text(stdout)));
    assert.deepEqual(
      read.map((line) => (JSON.parse(line) as { read?: string }).read),
      ['hi', 'file', undefined, undefined],
    );
  });
});
