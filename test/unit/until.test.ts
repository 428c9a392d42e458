import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { until } from '../support/until.ts';

const project = fileURLToPath(new URL('../../', import.meta.url));

describe('a wait for a condition', () => {
  it('ends when the condition holds, whether it answers at once or by a promise', async () => {
    let turns = 0;
    await until(() => (turns += 1) === 3);
    await until(async () => (turns += 1) === 5);
    assert.equal(turns, 5);
  });

  it('fails with the error of a condition that throws', async () => {
    await assert.rejects(
      until(() => {
        throw new Error('gone');
      }),
      /gone/,
    );
  });

  it('fails before its test is over time, names the condition, and lets the process end', function () {
    this.timeout(30_000);
    const folder = mkdtempSync(join(tmpdir(), 'katafleet-until-'));
    try {
      const file = join(folder, 'a.test.ts');
      const support = JSON.stringify(join(project, 'test/support/until.ts'));
      writeFileSync(
        file,
        `import { until } from ${support};
         let held = 0;
         it('waits for what never comes', async () => { await until(() => held > 3); }).timeout(1_500);
         it('waits for what never is answered', async () => { await until(async () => held > 4); }).timeout(1_500);`,
      );
      const args = ['node_modules/mocha/bin/mocha.js', file];
      const { stdout, status } = spawnSync(process.execPath, args, { cwd: project, encoding: 'utf8', timeout: 25_000 });
      assert.match(stdout, /the test waited in vain until held ?> ?3\n[^]*the test waited in vain until held ?> ?4\n/);
      assert.equal(status, 2, 'two tests failed, and nothing kept the process');
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
