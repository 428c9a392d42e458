import assert from 'node:assert/strict';
import { showTest } from '../../src/cli/show/kata-view.ts';
import { report } from '../../src/cli/show/report.ts';
import { lineOf } from '../../src/cli/show/transfers.ts';
import { readTestRecord, testRecord } from '../../src/katas/record.ts';
import { KatafleetError } from '../../src/model/errors.ts';
import type { Outcome } from '../../src/model/outcome.ts';
import { aRunResult } from '../support/builders.ts';

/** Sets the title of a terminal's window. */
const steers = '\u001b]0;mine\u0007';

/** Returns what is written to standard error meanwhile. */
async function said(show: () => unknown): Promise<string> {
  const texts: string[] = [];
  const write = process.stderr.write.bind(process.stderr);
  process.stderr.write = (text) => texts.push(String(text)) > 0;
  try {
    await show();
  } finally {
    process.stderr.write = write;
  }
  return texts.join('');
}

function assertEscaped(text: string): void {
  assert.match(text, /\\x1b\]0;mine\\x07/);
  assert.doesNotMatch(text, /[\u0007\u001b]\]?0?;?mine|\u0007/, JSON.stringify(text));
}

describe('what others wrote, on a terminal', () => {
  const outcome: Outcome = { kind: 'lost', reason: `${steers}\n  + forged` };

  it('is escaped in the report of a run: its node and why it was lost', async () => {
    for (const result of [aRunResult({ outcome, steps: [] }), aRunResult({ node: steers })]) {
      const text = await said(() => report(result, undefined));
      assertEscaped(text);
      assert.doesNotMatch(text, /^ {2}\+ forged/m);
    }
  });

  it('is escaped in what is shown of a bundle’s test: its node and how it ended', async () => {
    const none = { created: [], changed: [], deleted: [], hidden: [], ignored: [], leftOut: [], leftOutCount: 0 };
    for (const hostile of [{ node: steers }, { outcome }, { outcome: { kind: steers } }]) {
      const document = { ...testRecord(1, 0, 'image', { kind: 'ran', result: aRunResult() }, none), ...hostile };
      const record = readTestRecord(Buffer.from(JSON.stringify(document)), 'test.json');
      const text = await said(() => showTest({ record, stdout: Buffer.alloc(0), stderr: Buffer.alloc(0) }));
      assertEscaped(text);
      assert.doesNotMatch(text, /^ {2}\+ forged/m);
    }
  });

  it('is escaped in what is said of a copy that failed', () => {
    const error = new KatafleetError('engine.failed', steers, { hint: steers });
    for (const kind of ['again', 'failed'] as const)
      assertEscaped(lineOf({ kind, image: 'i', node: 'n', error } as Parameters<typeof lineOf>[0]) ?? '');
  });
});
