import type { Outcome } from '../../src/model/outcome.ts';
import { omissions, type ReturnedFile, type RunResult, type StepResult } from '../../src/model/result.ts';
import { aRunResult, aStepResult } from '../support/builders.ts';

/** Names of files as programs may choose them. Lone surrogates stand for bytes that are no text, see src/model/paths.ts. */
export const hostileNames: readonly string[] = [
  'not-utf8-\udcff\udc80',
  '\udced\udca0\udc80',
  'line\nend',
  'quote"\'`\\',
  '..a/...',
  '...',
  ' space ',
  '-rf',
  '$(touch x);&|*?[a]{b}',
  'tab\tbell\u0007escape\u001b[31m',
  'right-to-left\u202etxt',
  'zero\u200bwidth\ufeff',
  'e\u0301-and-\u00e9',
  '\u{1f9ea}',
  '__proto__',
  'constructor/toString',
  'C:\\con',
  'n'.repeat(255),
  `${'ü'.repeat(127)}n`,
  Array.from({ length: 64 }, (_, index) => `d${index}`).join('/'),
];

/** Times in ns since 1970: 64 bits with a sign. */
export const hostileTimes: readonly bigint[] = [
  0n,
  -1n,
  1n,
  -(2n ** 63n),
  2n ** 63n - 1n,
  -1_000_000_001n,
  1_700_000_000_123_456_789n,
  4_102_444_800_000_000_000n,
];
export const timeOf = (index: number): bigint => hostileTimes[index % hostileTimes.length] ?? 0n;

/** Each kind of outcome, with the values that stand at an edge. */
export const outcomes: readonly Outcome[] = [
  { kind: 'exited', code: 0 },
  { kind: 'exited', code: 255 },
  { kind: 'signalled', signal: 9 },
  { kind: 'timed_out', clock: 'wall' },
  { kind: 'timed_out', clock: 'cpu' },
  { kind: 'out_of_memory' },
  { kind: 'out_of_disk' },
  { kind: 'cancelled' },
  { kind: 'lost', reason: 'the node "a"\nis gone \u001b[0m' },
];

/** A step's result without what is optional. */
export const plainStep = (outcome: Outcome): StepResult => aStepResult({ outcome, stdout: 'All tests passed\n' });

/** A step's result with every field, also each optional one: the compiler asks for a field that is added. */
export const fullStep = (outcome: Outcome): StepResult =>
  aStepResult({
    outcome,
    stdout: Buffer.from([0, 0xff, 0x80, 0x0a, 0xc3]),
    stderr: Buffer.from('größer\u0000'),
    stdoutTail: Buffer.from([0xa9, 0x0a]),
    stderrTail: Buffer.from('end\n'),
    stdoutOmitted: 5_000_000_000,
    stderrOmitted: 0,
    stdoutBytes: 5_000_000_007,
    stderrBytes: 13,
    stdoutCut: true,
    stderrCut: true,
    wallMs: 10_000.25,
    userMs: 86_400_000,
    systemMs: 0.5,
    peakMemory: 1_099_511_627_776,
    oomKills: 3,
    exitCode: 137,
  } satisfies Required<StepResult>);

/** A result without what is optional. */
export const plainResult = (id: string, outcome: Outcome): RunResult =>
  aRunResult({ id, warm: false, outcome, steps: [plainStep(outcome)] });

/** A result with every field, and a file for each hostile name. */
export const fullResult = (id: string, outcome: Outcome, more: readonly ReturnedFile[] = []): Required<RunResult> => ({
  id,
  image: 'registry.example:5000/kata/gcc-assert:1.2@sha256:' + 'ab'.repeat(32),
  node: 'nöde "1"',
  attempt: 3,
  warm: true,
  resumed: true,
  outcome,
  light: 'red',
  steps: [plainStep({ kind: 'exited', code: 0 }), fullStep(outcome)],
  changes: {
    files: [
      ...hostileNames.map((path, index) => ({
        change: index % 2 === 0 ? ('created' as const) : ('changed' as const),
        path,
        mode: [0o644, 0o7777, 0, 0o755][index % 4] ?? 0,
        mtimeNs: timeOf(index),
        content: Buffer.from([index, 0, 0xff, 0x0a]),
      })),
      ...more,
    ],
    folders: hostileTimes.map((mtimeNs, index) => ({ path: `hollow\udc80${index}`, mode: index * 0o111, mtimeNs })),
    deleted: ['gone', 'line\nend/gone\udcfe'],
    omitted: omissions.map((reason, index) => ({ path: `${hostileNames[index] ?? ''}-${reason}`, reason })),
    omittedCount: 1_000_000,
  },
  timings: { queueMs: 1.5, acquireMs: 2.25, executeMs: 10_000, collectMs: 0.125, totalMs: 10_003.875 },
});
