import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { SandboxFile } from '../../../src/model/request.ts';
import { noChanges, type ReturnedFile } from '../../../src/model/result.ts';
import { SandboxState } from '../../../src/runs/sessions/sandbox-state.ts';

const file = (path: string, content = path, mode = 0o644): SandboxFile => ({ path, mode, mtimeNs: 0n, content: Buffer.from(content) });
const back = (path: string, content = path): ReturnedFile => ({
  change: 'created',
  path,
  mode: 0o644,
  mtimeNs: 0n,
  content: Buffer.from(content),
});
const paths = (files: readonly { path: string }[]) => files.map(({ path }) => path);

/** A sandbox that holds these files after a first run. */
function after(files: SandboxFile[], changes: Partial<ReturnType<typeof noChanges>> = {}): SandboxState {
  const state = new SandboxState();
  state.sent(state.delta(files, []), files);
  state.returned({ ...noChanges(), ...changes });
  return state;
}

describe('sandbox state', () => {
  it('sends everything to an empty folder, and then what has changed: bytes or mode', () => {
    const state = after([file('a'), file('b'), file('c')]);
    const delta = state.delta([file('a'), file('b', 'other'), file('c', 'c', 0o755), file('d')], []);
    assert.deepEqual([delta.remove, paths(delta.files)], [[], ['b', 'c', 'd']]);
  });

  it('keeps what tools made, removes what the caller no longer gives', () => {
    const state = after([file('a.c'), file('old.c')], { files: [back('a.o')] });
    const delta = state.delta([file('a.c')], []);
    assert.deepEqual([delta.remove, delta.files], [['old.c'], []]);
  });

  it('a tool’s file that the caller sends back becomes the caller’s, and is removed when the caller leaves it out', () => {
    const state = after([file('a')], { files: [back('received')] });
    const both = [file('a'), file('received')];
    const same = state.delta(both, []);
    assert.deepEqual([same.remove, same.files], [[], []]);
    state.sent(same, both);
    assert.deepEqual(state.delta([file('a')], []).remove, ['received']);
  });

  it('sends again what a tool changed, deleted, or left behind as something else', () => {
    const files = [file('changed'), file('deleted'), file('link')];
    const state = after(files, {
      files: [{ ...back('changed', 'x'), change: 'changed' }],
      deleted: ['deleted'],
      omitted: [{ path: 'link', reason: 'symlink' }],
      omittedCount: 1,
    });
    const delta = state.delta(files, []);
    assert.deepEqual([delta.remove, paths(delta.files)], [['link'], ['changed', 'deleted', 'link']]);
  });

  it('clears the way: a file where a folder has to be, a folder where a file has to be', () => {
    const state = after([file('a'), file('b/c')], { files: [back('b/tool')] });
    const delta = state.delta([file('a/x'), file('b')], []);
    assert.deepEqual([new Set(delta.remove), paths(delta.files)], [new Set(['a', 'b']), ['a/x', 'b']]);
  });

  it('removes a folder with its last file, unless it has other content or the caller asks for it', () => {
    const gone = [file('empty/x'), file('tool/x'), file('odd/x'), file('asked/x')];
    const state = after(gone, { files: [back('tool/y')], omitted: [{ path: 'odd/pipe', reason: 'fifo' }], omittedCount: 1 });
    const delta = state.delta([], [{ path: 'asked', mode: 0o755, mtimeNs: 0n }]);
    assert.deepEqual(delta.remove.toSorted(), ['asked/x', 'empty', 'odd/x', 'tool/x']);
  });

  it('the folder always ends up with the sent files and the tools’ other files', () => {
    const name = fc.constantFrom('a', 'b', 'a/b', 'a/c', 'a/b/c', 'b/a', 'c');
    const set = fc
      .uniqueArray(name, { maxLength: 4 })
      .map((names) => names.filter((path) => !names.some((other) => other.startsWith(`${path}/`))));
    fc.assert(
      fc.property(fc.array(fc.record({ wanted: set, made: set, version: fc.nat(2) }), { minLength: 1, maxLength: 6 }), (rounds) => {
        const state = new SandboxState();
        const folder = new Map<string, string>();
        const drop = (path: string) => {
          for (const other of [...folder.keys()]) if (other === path || other.startsWith(`${path}/`)) folder.delete(other);
        };
        for (const { wanted, made, version } of rounds) {
          const files = wanted.map((path) => file(path, `${path} ${version}`));
          const delta = state.delta(files, []);
          delta.remove.forEach(drop);
          for (const { path, content } of delta.files) {
            const inTheWay = [...folder.keys()].some((other) => other.startsWith(`${path}/`) || path.startsWith(`${other}/`));
            assert.ok(!inTheWay, `${path} is sent over something else`);
            folder.set(path, Buffer.from(content as Uint8Array).toString());
          }
          state.sent(delta, files);
          for (const { path, content } of files) assert.equal(folder.get(path), Buffer.from(content as Uint8Array).toString());
          const changes = noChanges();
          for (const path of made) {
            if ([...folder.keys()].some((other) => other.startsWith(`${path}/`) || path.startsWith(`${other}/`))) continue;
            changes.files.push(back(path, `made ${version}`));
            folder.set(path, `made ${version}`);
          }
          state.returned(changes);
        }
      }),
    );
  });
});
