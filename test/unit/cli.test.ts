import assert from 'node:assert/strict';
import { chmod, mkdir, mkdtemp, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { exitCodeOf } from '../../src/cli/exit-code.ts';
import { readFolder } from '../../src/cli/folder.ts';
import { program } from '../../src/cli/program.ts';
import { escapeControls } from '../../src/cli/terminal.ts';
import { writeBack } from '../../src/cli/write-back.ts';
import { KatafleetError } from '../../src/core/errors.ts';
import { noChanges } from '../../src/core/run.ts';

const code = (expected: string) => (error: unknown) => error instanceof KatafleetError && error.code === expected;

describe('command line', () => {
  let folder: string;
  beforeEach(async () => (folder = await mkdtemp(join(tmpdir(), 'katafleet-cli-'))));
  afterEach(() => rm(folder, { recursive: true, force: true }));

  it('shows control characters escaped', () => {
    assert.equal(escapeControls('a\x1b[31mb\tc\r\nd\x07\u009b\u202e'), 'a\\x1b[31mb\tc\nd\\x07\\x9b\\u202e');
  });

  it('reads a folder with names, modes and times as they are, and leaves links out', async () => {
    await mkdir(join(folder, 'd/hollow'), { recursive: true });
    await writeFile(join(folder, 'd/-x y'), 'hi');
    await chmod(join(folder, 'd/-x y'), 0o751);
    await writeFile(Buffer.concat([Buffer.from(`${folder}/`), Buffer.from([0xff])]), 'raw');
    await symlink('/etc/passwd', join(folder, 'link'));
    const { files, folders, skipped } = await readFolder(folder);
    assert.deepEqual(
      files.map(({ path, mode }) => [path, path === 'd/-x y' ? mode : 0]),
      [
        ['d/-x y', 0o751],
        ['\udcff', 0],
      ],
    );
    assert.deepEqual([folders.map(({ path }) => path), skipped], [['d/hollow'], ['link']]);
    assert.equal(files[0]?.mtimeNs, (await stat(join(folder, 'd/-x y'), { bigint: true })).mtimeNs);
  });

  it('says whose fault a folder is', async () => {
    await assert.rejects(readFolder(join(folder, 'none')), code('folder.missing'));
    await assert.rejects(readFolder(folder), code('folder.empty'));
    await writeFile(join(folder, 'f'), '');
    await assert.rejects(readFolder(join(folder, 'f')), code('folder.missing'));
  });

  it('says which file can’t be read', async function () {
    if (process.getuid?.() === 0 && !process.seteuid) return this.skip();
    await writeFile(join(folder, 'secret'), 'x');
    await chmod(join(folder, 'secret'), 0);
    await chmod(folder, 0o755);
    const root = process.getuid?.() === 0;
    if (root) process.seteuid?.(65_534);
    try {
      await assert.rejects(readFolder(folder), (error) => code('file.unreadable')(error) && /secret/.test(String(error)));
    } finally {
      if (root) process.seteuid?.(0);
    }
  });

  it('writes files back with their times to the nanosecond, below the folder and nowhere else', async () => {
    const outside = join(folder, 'outside');
    const out = join(folder, 'out');
    await mkdir(outside);
    await mkdir(out);
    await writeFile(join(outside, 'victim'), 'safe');
    await symlink(join(outside, 'victim'), join(out, 'victim'));
    const file = (path: string) => ({
      change: 'created' as const,
      path,
      mode: 0o6755,
      mtimeNs: 1_700_000_000_123_456_789n,
      content: Buffer.from('new'),
    });
    await writeBack(out, { ...noChanges(), files: [file('victim'), file('d/-e\nf')], deleted: ['gone', 'no/such'] });
    assert.equal(await readFile(join(outside, 'victim'), 'utf8'), 'safe');
    const written = await stat(join(out, 'd/-e\nf'), { bigint: true });
    assert.deepEqual([written.mtimeNs, written.mode & 0o7777n], [1_700_000_000_123_456_789n, 0o755n]);
    await symlink(outside, join(out, 'link'));
    await assert.rejects(writeBack(out, { ...noChanges(), files: [file('link/victim')] }), code('output.unwritable'));
    await writeBack(out, { ...noChanges(), deleted: ['link/victim'] });
    assert.equal(await readFile(join(outside, 'victim'), 'utf8'), 'safe', 'deleting follows no link either');
  });

  it('has an exit code for each outcome', () => {
    const codes = [
      { kind: 'exited', code: 3 },
      { kind: 'signalled', signal: 11 },
      { kind: 'timed_out', clock: 'wall' },
      { kind: 'out_of_memory' },
      { kind: 'cancelled' },
      { kind: 'lost', reason: '' },
    ] as const;
    assert.deepEqual(codes.map(exitCodeOf), [3, 139, 124, 137, 130, 125]);
  });

  it('every command and option has a description', () => {
    const visit = (command: ReturnType<typeof program>): void => {
      assert.ok(command.description(), command.name());
      for (const option of command.options) assert.ok(option.description, `${command.name()} ${option.flags}`);
      command.commands.forEach((child) => visit(child));
    };
    visit(program());
  });
});
