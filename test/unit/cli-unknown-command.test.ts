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

  it('is refused with the nearest name after a command that does something alone', async () => {
    const { code, stderr } = await refused(['images', 'lits']);
    assert.equal(code, 64);
    assert.match(stderr, /unknown command 'lits'\n\(Did you mean list\?\)/);
    assert.match((await refused(['maintenance', '--json', 'nosuch'])).stderr, /unknown command 'nosuch'\n\(katafleet --help/);
  });

  it('is not help, after any command that has others', async () => {
    const shown: string[] = [];
    const write = process.stdout.write.bind(process.stdout);
    process.stdout.write = (text) => shown.push(String(text)) > 0;
    try {
      for (const command of ['images', 'maintenance', 'kata']) assert.deepEqual(await refused([command, 'help']), { code: 0, stderr: '' });
    } finally {
      process.stdout.write = write;
    }
    assert.match(shown.join(''), /Usage: katafleet images[^]*Usage: katafleet maintenance[^]*Usage: katafleet kata/);
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
