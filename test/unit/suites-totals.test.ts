import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const project = fileURLToPath(new URL('../../', import.meta.url));
const library = join(project, 'scripts/lib');

/** What the last lines of a script say of a suite in real mocha. */
function totalsOf(suite: string, mochaOptions = ''): { lines: string[]; status: number | null } {
  const folder = mkdtempSync(join(tmpdir(), 'katafleet-totals-'));
  try {
    writeFileSync(join(folder, 'a.test.cjs'), suite);
    const script = `set -euo pipefail; . '${library}/messages.sh'; . '${library}/totals.sh'
      mocha_words() { MOCHA=(node '${project}node_modules/mocha/bin/mocha.js' --no-config ${mochaOptions}
        --reporter '${library}/mocha-totals.cjs' --reporter-option "totals=$1" "\${@:2}"); }
      mocha_suite unit '${folder}/a.test.cjs' > /dev/null; print_totals`;
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

  it('are good where every test passes', () => {
    assert.deepEqual(totalsOf(`it('passes', () => undefined);`), { lines: ['1 passed, 0 failed, 0 skipped'], status: 0 });
  });
});
