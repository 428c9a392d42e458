import fc from 'fast-check';
import { Light } from '../../src/model/lights.ts';
import type { Outcome } from '../../src/model/outcome.ts';
import { decodePath, pathFault } from '../../src/model/paths.ts';
import { omissions, type RunResult, StepResult } from '../../src/model/result.ts';
import { result } from './katas.ts';

/** An arbitrary run result, with hostile names, times and output. */

export const int64 = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });
export const mode = fc.nat(0o7777);
export const whole = { noNullPrototype: true } as const;
/** An arbitrary file name; bytes that are not UTF-8 become lone surrogates. */
export const path = fc
  .oneof(
    fc.uint8Array({ minLength: 1, maxLength: 20 }),
    fc.string({ minLength: 1, maxLength: 20 }).map((text) => Buffer.from(text)),
  )
  .filter((bytes) => pathFault(bytes) === undefined)
  .map(decodePath);
export const paths = fc.uniqueArray(path, { maxLength: 5 });

/** An outcome of each kind. The compiler reports a new kind that is missing here. */
export const anyOutcome: { [kind in Outcome['kind']]: fc.Arbitrary<Extract<Outcome, { kind: kind }>> } = {
  exited: fc.nat(255).map((code) => ({ kind: 'exited', code })),
  signalled: fc.nat(64).map((signal) => ({ kind: 'signalled', signal })),
  timed_out: fc.constantFrom('wall' as const, 'cpu' as const).map((clock) => ({ kind: 'timed_out', clock })),
  out_of_memory: fc.constant({ kind: 'out_of_memory' }),
  out_of_disk: fc.constant({ kind: 'out_of_disk' }),
  cancelled: fc.constant({ kind: 'cancelled' }),
  lost: fc.string({ unit: 'binary' }).map((reason) => ({ kind: 'lost', reason })),
};
const outcome: fc.Arbitrary<Outcome> = fc.oneof(...Object.values(anyOutcome));
const bytes = fc.uint8Array({ maxLength: 30 }).map((of) => Buffer.from(of));
const number = fc.double({ min: 0, max: 1e15, noNaN: true }).map((value) => value + 0); // no -0
/** A value of each field of a step, also of each optional field. The compiler reports a new field that is missing here. */
const stepFields: { readonly [F in keyof StepResult]-?: fc.Arbitrary<Required<StepResult>[F]> } = {
  outcome,
  stdout: bytes,
  stderr: bytes,
  stdoutBytes: fc.maxSafeNat(),
  stderrBytes: fc.maxSafeNat(),
  stdoutCut: fc.boolean(),
  stderrCut: fc.boolean(),
  wallMs: number,
  userMs: number,
  systemMs: number,
  peakMemory: fc.maxSafeNat(),
  oomKills: fc.nat(),
  exitCode: fc.nat(255),
  stdoutOmitted: fc.maxSafeNat(),
  stderrOmitted: fc.maxSafeNat(),
  stdoutTail: bytes,
  stderrTail: bytes,
};
type AlwaysThere = { [F in keyof StepResult]-?: object extends Pick<StepResult, F> ? never : F }[keyof StepResult];
const isAlwaysThere = (field: string): field is AlwaysThere => StepResult.shape[field as keyof StepResult]._zod.optout !== 'optional';
const step: fc.Arbitrary<StepResult> = fc.record(stepFields, {
  noNullPrototype: true,
  requiredKeys: Object.keys(stepFields).filter(isAlwaysThere),
});
export const anyResult: fc.Arbitrary<RunResult> = fc
  .record({
    outcome,
    steps: fc.array(step, { maxLength: 3 }),
    files: fc.array(
      fc.record({ change: fc.constantFrom('created' as const, 'changed' as const), path, mode, mtimeNs: int64, content: bytes }, whole),
      { maxLength: 4 },
    ),
    folders: fc.array(fc.record({ path, mode, mtimeNs: int64 }, whole), { maxLength: 4 }),
    deleted: paths,
    omitted: fc.array(fc.record({ path, reason: fc.constantFrom(...omissions) }, whole), { maxLength: 4 }),
    omittedCount: fc.nat(),
    light: fc.constantFrom(undefined, ...Light.options),
    resumed: fc.boolean(),
    attempt: fc.integer({ min: 1, max: 9 }),
  })
  .map(({ outcome: ended, steps, light, resumed, attempt, ...changes }) =>
    result(changes, { outcome: ended, steps, resumed, attempt, ...(light ? { light } : {}) }),
  );
