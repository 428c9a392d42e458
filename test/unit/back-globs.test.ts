import assert from 'node:assert/strict';
import fc from 'fast-check';
import { compileGlobs, globsFit } from '../../src/model/glob.ts';
import { noChanges } from '../../src/model/result.ts';
import { compileGlob } from '../../src/katas/glob.ts';
import { wantedOf } from '../../src/runs/attempt/back.ts';

const piece = fc.constantFrom(
  'a',
  'b',
  '.',
  '*',
  '?',
  '/',
  '**/',
  '/**',
  '{a,b*}',
  '[a-c]',
  '[!a]',
  '[.é]',
  '\\*',
  'é',
  '[a-',
  ']',
  '{',
  ',',
  '-',
  '😀',
);
const glob = fc.array(piece, { minLength: 1, maxLength: 6 }).map((pieces) => pieces.join(''));
const path = fc
  .array(fc.constantFrom('a', 'b', 'c', '.', '/', 'é', '*', '\udcff', '😀', '\n'), { minLength: 1, maxLength: 8 })
  .map((parts) => parts.join(''));

/** The matcher of katas, or what it says is wrong. */
function reference(text: string): ((at: string) => boolean) | undefined {
  try {
    return compileGlob(text);
  } catch {
    return undefined;
  }
}

describe('globs of what shall come back', () => {
  it('mean what they mean in the rules of a kata, for any glob and any path', () => {
    fc.assert(
      fc.property(glob, fc.array(path, { maxLength: 5 }), (text, paths) => {
        const fits = reference(text);
        if (!fits) {
          assert.throws(() => compileGlobs([text]), { code: 'request.invalid' });
          return;
        }
        const program = compileGlobs([text]);
        for (const at of paths) assert.equal(globsFit(program, at), fits(at), `${text} on ${JSON.stringify(at)}`);
      }),
      { numRuns: 3_000 },
    );
  });

  it('fit where one of them does', () => {
    const program = compileGlobs(['*.xml', 'out/', 'a/**/b']);
    const paths = ['results.xml', 'd/x.xml', 'out/x', 'out', 'outer', 'a/b', 'a/x/y/b', 'a/bc', 'x.xmlx'];
    assert.deepEqual(
      paths.filter((at) => globsFit(program, at)),
      ['results.xml', 'd/x.xml', 'out/x', 'out', 'a/b', 'a/x/y/b'],
    );
  });

  it('take time linear in the name, and are bounded in size', () => {
    const program = compileGlobs([`${'*a'.repeat(100)}b`]);
    assert.equal(globsFit(program, 'a'.repeat(250)), false);
    assert.throws(() => compileGlobs(Array.from({ length: 30 }, () => 'x'.repeat(100))), { code: 'request.invalid' });
  });

  it('have so much time for an answer and no more: the rest is taken as it came', () => {
    const deleted = Array.from({ length: 2_000 }, (_, at) => `${'a'.repeat(4_000)}${at}`);
    const left = wantedOf({ ...noChanges(), deleted }, compileGlobs(Array.from({ length: 100 }, () => '*a*b'))).deleted;
    assert.ok(left.length > 1_000 && left.length < 2_000, `${left.length} of them`);
    assert.deepEqual(left, deleted.slice(-left.length));
    const many = Array.from({ length: 20_000 }, (_, at) => `${'folder/'.repeat(10)}${at}.o`);
    assert.deepEqual(wantedOf({ ...noChanges(), deleted: many }, compileGlobs(['*.gcov', '*.xml', 'out/'])).deleted, []);
  });

  it('leave out of an answer what none of them fits, and do not count it', () => {
    const stamp = { mode: 0o644, mtimeNs: 0n };
    const file = (at: string) => ({ change: 'created' as const, path: at, ...stamp, content: Buffer.alloc(0) });
    const changes = {
      ...noChanges(),
      files: [file('a.xml'), file('b')],
      folders: [{ path: 'd', ...stamp }],
      deleted: ['c.xml', 'd'],
      omitted: [
        { path: 'l.xml', reason: 'symlink' as const },
        { path: 'm', reason: 'symlink' as const },
      ],
      omittedCount: 2,
    };
    const { files, folders, deleted, omitted, omittedCount } = wantedOf(changes, compileGlobs(['*.xml']));
    assert.deepEqual(
      [files.map((each) => each.path), folders, deleted, omitted.map((each) => each.path), omittedCount],
      [['a.xml'], [], ['c.xml'], ['l.xml'], 1],
    );
  });
});
