import assert from 'node:assert/strict';
import { main } from '../../src/cli/program.ts';

/** What a command line says on stderr, and its exit code. */
async function refused(words: readonly string[]): Promise<{ code: number; stderr: string }> {
  const said: string[] = [];
  const write = process.stderr.write.bind(process.stderr);
  process.stderr.write = (text) => said.push(String(text)) > 0;
  try {
    return { code: await main(words), stderr: said.join('') };
  } finally {
    process.stderr.write = write;
  }
}

describe('an unknown command', () => {
  it('is refused with the nearest name', async () => {
    const { code, stderr } = await refused(['nodse']);
    assert.equal(code, 64);
    assert.match(stderr, /unknown command 'nodse'\n\(Did you mean nodes\?\)/);
  });

  for (const [alone, asked] of [
    [['nodse'], ['nodse', '--help']],
    [['nodse'], ['--help', 'nodse']],
    [['nodse'], ['help', 'nodse']],
    [
      ['config', 'chek'],
      ['config', 'chek', '-h'],
    ],
    [
      ['images', 'nosuch'],
      ['images', 'nosuch', '--help'],
    ],
  ] as const) {
    it(`is refused in the same words when help is asked for: ${asked.join(' ')}`, async () => {
      assert.deepEqual(await refused(asked), await refused(alone));
    });
  }
});
