import assert from 'node:assert/strict';
import { noFiles, type KataFiles } from '../../../src/katas/kata-files.ts';
import { submit } from '../../../src/katas/sandbox.ts';

const at = 1_800_000_000_500;
const ns = (ms: number) => BigInt(ms) * 1_000_000n;
const built = ns(at) - 100_000_000n;
const file = (path: string, content: string, mtimeNs?: bigint, mode?: number) => ({ path, content: Buffer.from(content), mtimeNs, mode });
const stamps = ({ files }: KataFiles) => Object.fromEntries(Array.from(files, ([path, { mtimeNs }]) => [path, mtimeNs]));

/** After a test: sources of the person's, and an object file that katafleet keeps out of sight. */
function tested(source = file('a.c', '1', 5n)): KataFiles {
  const { sandbox } = submit(noFiles, [source, file('same', 's', 7n, 0o755)], [], at - 1_000);
  const [object] = submit(noFiles, [file('a.o', 'o', built)], [], at).sandbox.files.values();
  assert.ok(object);
  return { ...sandbox, files: new Map([...sandbox.files, ['a.o', { ...object, hidden: true }]]) };
}

describe('time stamps of what a person hands in', () => {
  it('are those that were given, where nothing was built', () => {
    const { sandbox } = submit(noFiles, [file('a', 'x', -5n), file('b', 'x', 9n)], [], at);
    assert.deepEqual(stamps(sandbox), { a: -5n, b: 9n });
    assert.deepEqual(stamps(submit(sandbox, [file('a', 'y', -6n)], [], at).sandbox), { a: -6n });
  });

  it('are newer than what was built, where the content is another', () => {
    const { 'a.c': edited, 'new.c': fresh } = stamps(submit(tested(), [file('a.c', '12', 4n), file('new.c', 'n', 3n)], [], at).sandbox);
    assert.deepEqual([edited, fresh], [ns(at), ns(at)]);
    const later = ns(at) + 5n;
    assert.equal(stamps(submit(tested(), [file('a.c', '12', later)], [], at).sandbox)['a.c'], later, 'one that is newer is kept');
  });

  it('stay, with the mode, where the content does and none is given', () => {
    const { sandbox } = submit(tested(), [file('same', 's'), file('a.c', '1', 6n)], [], at);
    assert.deepEqual([sandbox.files.get('same')?.mtimeNs, sandbox.files.get('same')?.mode, stamps(sandbox)['a.c']], [7n, 0o755, 6n]);
  });

  it('have another whole second where the size is the same, so that a cache of Python’s is not taken for it', () => {
    const { sandbox } = submit(tested(file('a.c', '1', ns(at))), [file('a.c', '2')], [], at);
    assert.equal(stamps(sandbox)['a.c'], ns(1_800_000_001_000));
  });

  it('never pass what 64 bits hold', () => {
    const last = 2n ** 63n - 1n;
    const before = submit(noFiles, [file('far', 'x', last)], [], at).sandbox;
    assert.equal(stamps(submit(before, [file('far', 'xy')], [], at).sandbox)['far'], last);
  });
});
