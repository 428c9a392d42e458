import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { exitCodeOf } from '../../src/cli/exit-code.ts';
import { errorKinds } from '../../src/model/errors.ts';
import type { Outcome } from '../../src/model/outcome.ts';

/** The code and the first words of each row of the table in docs/cli.md. */
const rows = (() => {
  const page = readFileSync(new URL('../../docs/cli.md', import.meta.url), 'utf8');
  const table = page
    .slice(page.indexOf('### Exit codes'))
    .split('\n')
    .filter((line) => line.startsWith('| ') && !line.startsWith('| ---'));
  const end = table.findIndex((line) => line.includes('the configuration has faults'));
  return table.slice(1, end + 1).map(
    (line) =>
      line
        .slice(1, -1)
        .split(' | ')
        .map((cell) => cell.trim()) as [string, string],
  );
})();

/** An outcome of each kind, and how the page names its code. The compiler asks for every kind. */
const outcomes: { [K in Outcome['kind']]: { outcome: Extract<Outcome, { kind: K }>; code: string; meaning: RegExp } } = {
  exited: { outcome: { kind: 'exited', code: 3 }, code: "the program's own", meaning: /^it exited/ },
  signalled: { outcome: { kind: 'signalled', signal: 9 }, code: '128 + N', meaning: /^signal N/ },
  timed_out: { outcome: { kind: 'timed_out', clock: 'wall' }, code: '124', meaning: /^timed out/ },
  out_of_memory: { outcome: { kind: 'out_of_memory' }, code: '137', meaning: /^out of memory/ },
  out_of_disk: { outcome: { kind: 'out_of_disk' }, code: '153', meaning: /^out of disk/ },
  cancelled: { outcome: { kind: 'cancelled' }, code: '130', meaning: /^cancelled/ },
  lost: { outcome: { kind: 'lost', reason: 'x' }, code: '125', meaning: /^lost/ },
};

describe('the exit codes in docs/cli.md', () => {
  for (const [kind, { outcome, code, meaning }] of Object.entries(outcomes)) {
    it(`have a row for the outcome ${kind}`, () => {
      const row = rows.find(([, words]) => meaning.test(words)) ?? assert.fail(`no row says ${String(meaning)}`);
      assert.equal(row[0], code);
      const expected = { "the program's own": 3, '128 + N': 128 + 9 }[code] ?? Number(code);
      assert.equal(exitCodeOf(outcome), expected);
    });
  }

  it('have a row for every exit code of an error', () => {
    const told = new Set(rows.map(([code]) => code));
    for (const [code, { exit }] of Object.entries(errorKinds)) assert.ok(told.has(String(exit)), `${code} exits with ${exit}`);
  });
});
