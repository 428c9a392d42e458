import assert from 'node:assert/strict';
import { KatafleetError } from '../../../src/model/errors.ts';
import { type RunInput, requestFrom } from '../../../src/model/run-input.ts';

const run = (files?: unknown, more: object = {}) =>
  ({ image: 'x', steps: [{ argv: ['true'] }], ...(files === undefined ? {} : { files }), ...more }) as unknown as RunInput;

describe('a run as TypeScript programs ask for it', () => {
  it('takes texts for bytes, and files without mode or time', () => {
    const open = async function* () {};
    const { files } = requestFrom(
      run([
        { path: 'a', content: 'é' },
        { path: 'b', mode: 0o755, mtimeNs: 5n, content: new Uint8Array([1]) },
        { path: 'c', content: { size: 0, open } },
      ]),
    );
    assert.deepEqual(files, [
      { path: 'a', content: Buffer.from('é') },
      { path: 'b', mode: 0o755, mtimeNs: 5n, content: new Uint8Array([1]) },
      { path: 'c', content: { size: 0, open } },
    ]);
    assert.deepEqual(requestFrom(run()).files, []);
  });

  it('says at once which field is at fault', () => {
    const cases: [files: unknown, about: RegExp][] = [
      [[{ path: 'a' }], /files\.0\.content: expected a text, bytes, or/],
      [[{ path: 'a', content: 3 }], /files\.0\.content/],
      [[{ path: 'a', content: { size: -1, open: () => [] } }], /files\.0\.content/],
      [[{ path: 'a', content: '' }, { content: '' }], /files\.1\.path/],
      [[{ path: 'a', content: '', mtimeNs: 5 }], /files\.0\.mtimeNs: expected a bigint/],
      [[{ path: 'a', content: '', mode: '644' }], /files\.0\.mode/],
      [[{ path: 'a', content: '', mode: 0o10000 }], /files\.0\.mode/],
      ['a', /files: /],
    ];
    for (const [files, about] of cases)
      assert.throws(
        () => requestFrom(run(files)),
        (error) => error instanceof KatafleetError && error.code === 'request.invalid' && about.test(error.message),
        JSON.stringify(files),
      );
    assert.throws(() => requestFrom(run([], { folders: [{ path: 'd', mode: 0.5 }] })), /folders\.0\.mode/);
  });
});
