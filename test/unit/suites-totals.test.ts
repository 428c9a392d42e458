import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const project = fileURLToPath(new URL('../../', import.meta.url));
const library = join(project, 'scripts/lib');

/** What the last lines of a script say of a suite in real mocha, of one file or several. */
function totalsOf(suites: string | readonly string[], mochaOptions = '', then = ''): { lines: string[]; status: number | null } {
  const folder = mkdtempSync(join(tmpdir(), 'katafleet-totals-'));
  try {
    for (const [index, suite] of [suites].flat().entries()) writeFileSync(join(folder, `${index}.test.cjs`), suite);
    const script = `set -euo pipefail; . '${library}/messages.sh'; . '${library}/totals.sh'
      mocha_words() { MOCHA=(node '${project}node_modules/mocha/bin/mocha.js' --no-config ${mochaOptions}
        --reporter '${library}/mocha-totals.cjs' --reporter-option "totals=$1" "\${@:2}"); }
      mocha_suite unit '${folder}'/*.test.cjs > /dev/null; ${then} print_totals`;
    const { stdout, status } = spawnSync('bash', ['-c', script], { cwd: folder, encoding: 'utf8' });
    return { lines: stdout.trimEnd().split('\n'), status };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

describe('the totals of a script of suites', () => {
  it('name each test and hook that failed, and what it threw, each on a line of its own before the last', () => {
    const { lines, status } = totalsOf(`
      it('passes', () => undefined);
      it('fails 100 %\\nin two lines', () => { throw new Error('one\\n  two'); });
      describe('of a hook', () => { before(() => { throw new Error('a \\\\ b'); }); it('is not run', () => undefined); });
      it.skip('is left out', () => undefined);`);
    assert.match(lines[0] ?? '', /^failed – unit › fails 100 % \| in two lines: Error: one \| two \| at /);
    assert.match(lines[1] ?? '', /^failed – unit › of a hook › "before all" hook for "is not run": Error: a \\ b \| at /);
    assert.deepEqual([lines.slice(2), status], [['1 passed, 2 failed, 1 skipped'], 1]);
  });

  it('count a test that does not end as a failure, and end the suite', () => {
    const suite = `it('passes', () => undefined); it('hangs', function (done) { this.timeout(0); setInterval(() => undefined, 1000); });`;
    const { lines, status } = totalsOf(suite, '--reporter-option silence=2000');
    assert.match(lines[0] ?? '', /^failed – unit › silence: no test has ended for .* minutes since passes$/);
    assert.deepEqual([lines.slice(1), status], [['1 passed, 1 failed, 0 skipped'], 1]);
  });

  describe('of a file that failed and ran once more', () => {
    const again = 'try_again > /dev/null 2>&1;';
    // Its first run leaves a mark, by which the second knows itself.
    const isFirst = `const first = !fs.existsSync('mark'); fs.writeFileSync('mark', '');`;

    it('count what it did then, and name what failed before', () => {
      const { lines, status } = totalsOf(
        `const fs = require('node:fs'); ${isFirst}
        it('passes', () => undefined);
        it('is unsteady', () => { if (first) throw new Error('the first time'); });
        describe('of a hook', () => { before(() => { if (first) throw new Error('too'); }); it('one', () => undefined); it('two', () => undefined); });`,
        '',
        again,
      );
      assert.match(lines[0] ?? '', /^unsteady, failed once and passed alone – unit › is unsteady: Error: the first time \| at /);
      assert.match(lines[1] ?? '', /^unsteady, .* – unit › of a hook › "before all" hook for "one": Error: too \| at /);
      assert.deepEqual([lines.slice(2), status], [['4 passed, 0 failed, 0 skipped'], 0]);
    });

    it('stay as they were where it fails again, be it elsewhere', () => {
      const { lines, status } = totalsOf(
        `const fs = require('node:fs'); ${isFirst}
        it('fails at first', () => { if (first) throw new Error('a'); });
        it('fails then', () => { if (!first) throw new Error('b'); });`,
        '',
        again,
      );
      assert.match(lines[0] ?? '', /^failed – unit › fails at first: Error: a \| at /);
      assert.deepEqual([lines.slice(1), status], [['1 passed, 1 failed, 0 skipped'], 1]);
    });

    it('count as passed if a hook after the tests had failed', () => {
      const { lines, status } = totalsOf(
        `const fs = require('node:fs'); ${isFirst}
        describe('of a hook', () => { after(() => { if (first) throw new Error('a'); }); it('passes', () => undefined); });`,
        '',
        again,
      );
      assert.match(lines[0] ?? '', /^unsteady, .* "after all" hook/);
      assert.deepEqual([lines.slice(1), status], [['1 passed, 0 failed, 0 skipped'], 0]);
    });

    it('stay as they were where it skips then what failed', () => {
      const { lines, status } = totalsOf(
        `const fs = require('node:fs'); ${isFirst}
        it('fails at first', function () { if (first) throw new Error('a'); this.skip(); });`,
        '',
        again,
      );
      assert.match(lines[0] ?? '', /^failed – unit › fails at first/);
      assert.deepEqual([lines.slice(1), status], [['0 passed, 1 failed, 0 skipped'], 1]);
    });

    it('stay as they were where more than three files failed', () => {
      const fails = `const fs = require('node:fs'); const mark = __filename + '.mark'; const first = !fs.existsSync(mark);
        fs.writeFileSync(mark, ''); it('fails at first', () => { if (first) throw new Error('a'); });`;
      assert.equal(totalsOf([fails, fails, fails], '', again).status, 0);
      const { lines, status } = totalsOf([fails, fails, fails, fails], '', again);
      assert.deepEqual([lines.length, lines.at(-1), status], [5, '0 passed, 4 failed, 0 skipped', 1]);
    });
  });

  it('are good where every test passes', () => {
    assert.deepEqual(totalsOf(`it('passes', () => undefined);`), { lines: ['1 passed, 0 failed, 0 skipped'], status: 0 });
  });

  it('count what ran beside others, suites and commands, and say that one of them failed', () => {
    const folder = mkdtempSync(join(tmpdir(), 'katafleet-totals-'));
    try {
      writeFileSync(join(folder, 'good.test.cjs'), "it('passes', () => undefined);");
      writeFileSync(join(folder, 'bad.test.cjs'), "it('fails', () => { throw new Error('so'); });");
      const script = `set -euo pipefail; . '${library}/messages.sh'; . '${library}/totals.sh'
        mocha_words() { MOCHA=(node '${project}node_modules/mocha/bin/mocha.js' --no-config
          --reporter '${library}/mocha-totals.cjs' --reporter-option "totals=$1" "\${@:2}"); }
        broken() { echo began; endable false; }
        mocha_suite_beside one good.test.cjs; mocha_suite_beside two bad.test.cjs; check_beside three broken; check_beside four endable true
        join_beside four && echo 'four is well'
        join_beside || echo 'not all is well'
        print_totals`;
      const { stdout, status } = spawnSync('bash', ['-c', script], { cwd: folder, encoding: 'utf8' });
      const lines = stdout.split('\n').filter((line) => /well|began|failed|passed/.test(line));
      assert.match(lines[3] ?? '', /^failed – two › fails: Error: so \|/);
      assert.deepEqual(
        [lines.filter((_, at) => at !== 3), status],
        [['four is well', 'began', 'not all is well', 'failed – three', '2 passed, 2 failed, 0 skipped'], 1],
      );
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
