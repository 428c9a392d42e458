import assert from 'node:assert/strict';
import type { Katafleet, RunRequest } from '../../src/app/library.ts';
import { stdout, testFleet } from '../support/fleet.ts';

/** As the API's short form has them: names and texts, no time stamps. */
const files = (texts: Record<string, string>, mtimeNs?: bigint) =>
  Object.entries(texts).map(([path, text]) => ({ path, content: Buffer.from(text), ...(mtimeNs === undefined ? {} : { mtimeNs }) }));
const c = (version: string) => `#include <stdio.h>\nint main(void) { puts("version ${version}"); return 0; }\n`;
const minute = 60_000_000_000n;

describe('time stamps, in real containers', () => {
  let fleet: Katafleet;
  before(() => (fleet = testFleet()));
  after(() => fleet.close());

  async function printed(request: Partial<RunRequest>, script: string): Promise<string> {
    const steps = [{ argv: ['bash', '-c', script] }];
    const result = await fleet.run({ image: 'build-essential', files: [], steps, ...request });
    return stdout(result);
  }

  it('a session runs the program that was sent last, without time stamps, with old ones, and when an earlier one is put back', async () => {
    const make = (version: string, mtimeNs?: bigint) =>
      printed({ files: files({ 'main.c': c(version) }, mtimeNs), session: 'make' }, 'make -s main 2>&1; ./main');
    assert.equal(await make('1'), 'version 1\n');
    assert.equal(await make('2'), 'version 2\n');
    const behind = BigInt(Date.now()) * 1_000_000n - 2n * minute;
    assert.equal(await make('3', behind), 'version 3\n', 'a client whose clock is behind');
    assert.equal(await make('1', behind - minute), 'version 1\n', 'an earlier version that was put back');
    assert.equal(await make('1', behind - minute), 'version 1\n');
  });

  it('Python’s cache of a module is not taken for the next module of the same size', async () => {
    const python = (answer: number, mtimeNs?: bigint) =>
      printed(
        {
          image: 'python-unittest',
          files: files({ 'm.py': `answer = ${answer}\n`, 'main.py': 'import m; print(m.answer)\n' }, mtimeNs),
          session: 'py',
        },
        'unset PYTHONDONTWRITEBYTECODE; python3 main.py',
      );
    assert.deepEqual([await python(1), await python(2), await python(3), await python(1, 0n)], ['1\n', '2\n', '3\n', '1\n']);
  });

  it('a target of an unchanged file is not built again', async () => {
    const build = (b: string) =>
      printed(
        {
          files: files({ makefile: 'all: a.o b.o\n%.o: %.c\n\t@echo built $@; $(CC) -c $< -o $@\n', 'a.c': 'int a;\n', 'b.c': b }),
          session: 'inc',
        },
        'make -s 2>&1',
      );
    assert.equal(await build('int b;\n'), 'built a.o\nbuilt b.o\n');
    assert.equal(await build('int c;\n'), 'built b.o\n');
    assert.equal(await build('int c;\n'), '');
  });

  it('are kept as they were given in a fresh sandbox, and are the time of the run where none was given', async () => {
    const given = 1_234_567_890_123_456_789n;
    assert.equal(await printed({ files: files({ a: '' }, given) }, 'stat -c "%.9Y %a" a'), '1234567890.123456789 644\n');
    const before = Date.now() / 1000 - 5;
    const stamp = Number((await printed({ files: files({ a: '' }), folders: [{ path: 'd' }] }, 'stat -c %Y a')).trim());
    assert.ok(stamp > before && stamp < Date.now() / 1000 + 1);
    const zipped = await printed({ image: 'python-unittest', files: files({ a: 'x' }) }, 'python3 -m zipfile -c z.zip a && echo zipped');
    assert.equal(zipped, 'zipped\n');
  });
});
