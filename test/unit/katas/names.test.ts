import assert from 'node:assert/strict';
import fc from 'fast-check';
import { KatafleetError } from '../../../src/model/errors.ts';
import { noChanges } from '../../../src/model/result.ts';
import { compileGlob } from '../../../src/katas/glob.ts';
import { namesGitFolder } from '../../../src/katas/names.ts';
import { fateOf, parseRules, Rules } from '../../../src/katas/rules.ts';
import { noFiles } from '../../../src/katas/kata-files.ts';
import { apply, submit } from '../../../src/katas/sandbox.ts';
import { created, file } from '../../support/katas.ts';

const code = (expected: string) => (error: unknown) => error instanceof KatafleetError && error.code === expected;

describe('names that a repository can’t hold', () => {
  it('are those that some file system takes for .git', () => {
    const bad = [
      '.git',
      '.GIT',
      'a/.git/config',
      'git~1',
      'GIT~1',
      '.git ',
      '.git. .',
      '.git::$INDEX_ALLOCATION',
      '.g\u200cit',
      '\ufeff.git',
      'a\\.git\\x',
      'x/.Git',
    ];
    assert.deepEqual(
      bad.filter((path) => !namesGitFolder(path)),
      [],
    );
    const good = ['.gitignore', '.gitattributes', 'git', '.git2', 'git~2', 'x.git', '.gi', 'agit~1', '..git', 'git~1x', '.github/x'];
    assert.deepEqual(good.filter(namesGitFolder), []);
  });

  it('are left out on their way in and on their way back, and told', () => {
    const { sandbox, leftOut } = submit(
      noFiles,
      [file('a'), file('.git/hooks/post-checkout')],
      [{ path: 'd/.GIT', mode: 0o755, mtimeNs: 0n }],
    );
    assert.deepEqual(
      [[...sandbox.files.keys()], [...sandbox.folders.keys()], leftOut.map(({ reason }) => reason)],
      [['a'], [], ['git_folder', 'git_folder']],
    );
    const { shown, sandbox: after } = apply(sandbox, { ...noChanges(), files: [created('b/.git/config'), created('b/ok')] }, () => 'show');
    assert.deepEqual(
      [[...after.files.keys()], shown.omitted, shown.omittedCount],
      [['a', 'b/ok'], [{ path: 'b/.git/config', reason: 'git_folder' }], 1],
    );
  });
});

describe('globs', () => {
  const fits = (glob: string, ...paths: string[]) => paths.filter(compileGlob(glob));

  it('fit as in .gitignore', () => {
    assert.deepEqual(fits('*.o', 'a.o', 'd/e/a.o', 'a.oo', '.o'), ['a.o', 'd/e/a.o', '.o']);
    assert.deepEqual(fits('/a', 'a', 'd/a'), ['a']);
    assert.deepEqual(fits('d/*.c', 'd/a.c', 'd/e/a.c', 'x/d/a.c'), ['d/a.c']);
    assert.deepEqual(fits('d/**', 'd', 'd/a', 'd/e/f', 'dd/a'), ['d/a', 'd/e/f']);
    assert.deepEqual(fits('**/x', 'x', 'a/x', 'a/b/x', 'xx'), ['x', 'a/x', 'a/b/x']);
    assert.deepEqual(fits('a/**/b', 'a/b', 'a/x/b', 'a/x/y/b', 'ab'), ['a/b', 'a/x/b', 'a/x/y/b']);
    assert.deepEqual(fits('cache/', 'cache', 'cache/a', 'd/cache/a/b', 'cache2/a'), ['cache', 'cache/a', 'd/cache/a/b']);
    assert.deepEqual(fits('*.{gcno,gcda}', 'a.gcno', 'a.gcda', 'a.gcov'), ['a.gcno', 'a.gcda']);
    assert.deepEqual(fits('[a-c]?[!x]', 'a1y', 'd1y', 'a1x'), ['a1y']);
    assert.deepEqual(fits('\\*(+', '*(+', 'a(+'), ['*(+']);
  });

  it('fit names of every kind', () => {
    assert.deepEqual(fits('*', 'a\nb', '\udcff', 'ünï☃', '-x'), ['a\nb', '\udcff', 'ünï☃', '-x']);
    assert.deepEqual(fits('d/**', 'd/\n/\udcff'), ['d/\n/\udcff']);
  });

  it('take no time that a hostile name could stretch', () => {
    assert.equal(compileGlob('*a*a*a*a*a*a*a*a*b')('a'.repeat(4_000)), false);
  });

  it('say what is wrong with them', () => {
    assert.throws(() => compileGlob('a//b'), /empty/);
    assert.throws(() => compileGlob('../a'), /\.\./);
    assert.throws(() => compileGlob('a**'), /part of its own/);
    assert.throws(() => compileGlob('{a'), /without/);
    assert.throws(() => compileGlob('[z-a]'), Error);
  });

  it('without special characters match only themselves', () => {
    const plain = fc
      .string({ minLength: 1, maxLength: 8 })
      .filter((text) => /^[^*?[\]{}\\/]+$/.test(text) && text !== '.' && text !== '..');
    fc.assert(fc.property(plain, plain, (a, b) => compileGlob(`/${a}`)(b) === (a === b)));
  });
});

describe('rules', () => {
  it('the first that fits decides, then hidden_filenames, then otherwise', () => {
    const fate = fateOf(Rules.parse({ rules: [{ show: 'build/report.txt' }, { hide: ['build/', '*.o'] }, { ignore: '__pycache__/' }] }), [
      'coverage/\\.last',
    ]);
    assert.deepEqual(['build/report.txt', 'build/x', 'x.o', 'd/__pycache__/a.pyc', 'coverage/.last_run', 'new.c'].map(fate), [
      'show',
      'hide',
      'hide',
      'ignore',
      'hide',
      'show',
    ]);
  });

  it('report where they are not valid', () => {
    assert.throws(
      () => parseRules('rules: [{ hide: "a**" }]', 'kata.yaml'),
      (error) => code('kata.invalid')(error) && /rules\.0/.test(String(error)),
    );
    assert.throws(() => parseRules('rules: [{ keep: x }]', 'kata.yaml'), code('kata.invalid'));
    assert.throws(() => parseRules(': [', 'kata.yaml'), code('kata.invalid'));
    assert.throws(() => fateOf(Rules.parse({}), ['(?=x)']), code('kata.invalid'));
    assert.deepEqual(parseRules('', 'kata.yaml'), { rules: [], otherwise: 'show' });
  });

  it('keep a submitted file shown, and drop an ignored change of it', () => {
    const { sandbox } = submit(noFiles, [file('mine.o', '1'), file('kept', '1')]);
    const fate = fateOf(Rules.parse({ rules: [{ hide: '*.o' }, { ignore: 'kept' }] }));
    const applied = apply(sandbox, { ...noChanges(), files: [{ ...created('mine.o', '2'), change: 'changed' }], deleted: ['kept'] }, fate);
    assert.deepEqual(
      [applied.shown.files.map(({ path }) => path), applied.hidden, applied.ignored, [...applied.sandbox.files.keys()].sort()],
      [['mine.o'], [], ['kept'], ['kept', 'mine.o']],
    );
  });
});

describe('the sandbox folder', () => {
  it('refuses what no folder can hold', () => {
    assert.throws(() => submit(noFiles, [file('a'), file('a/b')]), code('files.path'));
    assert.throws(() => submit(noFiles, [file('a'), file('a')]), code('files.path'));
    assert.throws(() => submit(noFiles, [file('../a')]), code('files.path'));
    assert.throws(
      () =>
        submit(
          noFiles,
          Array.from({ length: 10_001 }, (_, index) => file(`${index}`)),
        ),
      code('files.too_many'),
    );
  });

  it('a folder replaced by a file and back', () => {
    const { sandbox } = submit(noFiles, [file('d/a'), file('d/b')]);
    const flat = apply(sandbox, { ...noChanges(), files: [created('d', 'flat')], deleted: ['d/a', 'd/b'] }, () => 'show');
    assert.deepEqual([[...flat.sandbox.files.keys()], flat.shown.deleted], [['d'], ['d/a', 'd/b']]);
    const back = apply(flat.sandbox, { ...noChanges(), files: [created('d/a')], deleted: ['d'] }, () => 'show');
    assert.deepEqual([[...back.sandbox.files.keys()], back.shown.deleted], [['d/a'], ['d']]);
  });

  it('a person’s file goes before a hidden one that stands in its way', () => {
    const { sandbox } = submit(noFiles, [file('a')]);
    const { sandbox: built } = apply(
      sandbox,
      { ...noChanges(), files: [created('build/x.o'), created('y.o')] },
      fateOf(Rules.parse({ otherwise: 'hide' })),
    );
    assert.deepEqual([...submit(built, [file('build')]).sandbox.files.keys()].sort(), ['build', 'y.o']);
  });
});
