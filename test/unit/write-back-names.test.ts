import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync, mkdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { readFolder } from '../../src/cli/files/folder.ts';
import { whyWithheld } from '../../src/cli/files/own-names.ts';
import { sayNotWritten, writeBack } from '../../src/cli/files/write-back.ts';
import { noChanges, type ReturnedFile } from '../../src/model/result.ts';
import { gitEnvironment } from '../../src/katas/git.ts';

const file = (path: string, content = 'x'): ReturnedFile => ({
  change: 'created',
  path,
  mode: 0o755,
  mtimeNs: 0n,
  content: Buffer.from(content),
});

describe('what a program may write into a person’s folder', () => {
  let folder = '';
  beforeEach(() => (folder = mkdtempSync(join(tmpdir(), 'katafleet-names-'))));
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  it('no .git, in no form that a file system takes for it, whatever is allowed', async () => {
    const names = [
      '.git/config',
      '.GIT/config',
      'sub/.git/hooks/pre-commit',
      'GIT~1/config',
      '.git . /x',
      '.g\u200cit/config',
      '.git::$INDEX_ALLOCATION/x',
      'a\\.git\\config',
      '.git',
    ];
    for (const path of names) assert.equal(whyWithheld(path), 'git', path);
    const left = await writeBack(
      folder,
      {
        ...noChanges(),
        files: names.map((path) => file(path)),
        deleted: ['.git/index'],
        folders: [{ path: '.git/refs', mode: 0o755, mtimeNs: 0n }],
      },
      { dotfiles: true },
    );
    assert.equal(left.length, names.length + 2);
    assert.deepEqual(readdirSync(folder), []);
  });

  it('nothing that makes the next git status run a command, in the folder or below it', async () => {
    const env = { ...gitEnvironment() };
    execFileSync('git', ['init', '-q', folder], { env });
    const config = `[core]\n\trepositoryformatversion = 0\n\tbare = false\n\tworktree = ..\n\tfsmonitor = "touch ${folder}/RAN; false"\n`;
    await writeBack(
      folder,
      {
        ...noChanges(),
        files: [
          file('.git/config', config),
          file('sub/HEAD', 'ref: refs/heads/main\n'),
          file('sub/config', config),
          file('sub/objects/x'),
          file('sub/refs/x'),
        ],
      },
      { dotfiles: true },
    );
    for (const where of [folder, join(folder, 'sub')]) {
      try {
        execFileSync('git', ['status'], { cwd: where, env, stdio: 'ignore' });
      } catch {
        // no repository for git: just as well
      }
    }
    assert.ok(!existsSync(join(folder, 'RAN')));
    assert.equal(readFileSync(join(folder, 'sub/config'), 'utf8'), config, 'what is no repository is written');
  });

  it('no dotfile unless dotfiles are allowed, and reports the files that it left out', async () => {
    const names = [
      '.bashrc',
      '.envrc',
      '.vscode/tasks.json',
      'sub/.idea/workspace.xml',
      '.ssh/authorized_keys',
      '.cargo/config.toml',
      '\u200c.profile',
      '.gitmodules',
    ];
    for (const path of names) assert.equal(whyWithheld(path), 'dotfile', path);
    const changes = { ...noChanges(), files: [...names.map((path) => file(path)), file('plain.txt')], deleted: ['.npmrc'] };
    const left = await writeBack(folder, changes);
    assert.deepEqual(readdirSync(folder), ['plain.txt']);
    assert.deepEqual(left.map(({ path }) => path).toSorted(), [...names, '.npmrc'].toSorted());
    assert.match(sayNotWritten(left).join('\n'), /^not written: .*and 4 more, for .*--allow-dotfiles/);
    assert.deepEqual(await writeBack(folder, changes, { dotfiles: true }), []);
    assert.ok(existsSync(join(folder, '.vscode/tasks.json')));
  });

  it('files of other names, HEAD among them where it is no repository’s', () => {
    for (const path of ['Makefile', 'a.git/x', 'git/config', 'x..', 'HEAD', 'src/config'])
      assert.equal(whyWithheld(path, Buffer.from('some text')), undefined, path);
    assert.equal(whyWithheld('HEAD', Buffer.from('ref: refs/heads/main\n')), 'git');
    assert.equal(whyWithheld('a/head', Buffer.from(`${'0123456789'.repeat(4)}\n`)), 'git');
  });

  it('nothing with a name that begins with a dot', () => {
    const part = fc.stringMatching(/^[^/\\\0]{1,8}$/);
    fc.assert(
      fc.property(fc.array(part, { maxLength: 3 }), part, fc.array(part, { maxLength: 3 }), (before, name, after) =>
        assert.notEqual(whyWithheld([...before, `.${name}`, ...after].join('/')), undefined),
      ),
    );
  });
});

describe('what is sent of a person’s folder', () => {
  it('no .git unless it is asked for', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'katafleet-names-'));
    try {
      mkdirSync(join(folder, '.git/objects'), { recursive: true });
      mkdirSync(join(folder, 'sub'), { recursive: true });
      for (const name of ['.git/config', 'sub/.git', 'sub/a', '.rspec']) writeFileSync(join(folder, name), 'x');
      const { files, repositories } = await readFolder(folder);
      assert.deepEqual(
        files.map(({ path }) => path),
        ['.rspec', 'sub/a'],
      );
      assert.deepEqual(repositories, ['.git', 'sub/.git']);
      const whole = await readFolder(folder, { git: true });
      assert.deepEqual(
        whole.files.map(({ path }) => path),
        ['.git/config', '.rspec', 'sub/.git', 'sub/a'],
      );
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});
