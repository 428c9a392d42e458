import { NodeSummary } from '../../src/model/node.ts';
import type { RunRequest } from '../../src/model/request.ts';
import { noChanges, RunResult, StepResult } from '../../src/model/result.ts';

/**
 * Builds valid results, requests and nodes. A test gives only the fields that it is about. The schemas fill in defaults, so a new
 * field with a default needs no change here.
 */

/** Bytes, or text that stands for them. */
type Printed = Buffer | string;
type StepFields = Omit<Partial<StepResult>, 'stdout' | 'stderr'> & { stdout?: Printed; stderr?: Printed };

/** A step that exited with 0 and printed nothing, unless given otherwise. The counts of bytes follow from the output. */
export function aStepResult({ stdout = '', stderr = '', ...more }: StepFields = {}): StepResult {
  const [out, err] = [Buffer.from(stdout), Buffer.from(stderr)];
  const usual = { outcome: { kind: 'exited', code: 0 }, stdoutCut: false, stderrCut: false } as const;
  const counts = { stdoutBytes: out.length, stderrBytes: err.length, wallMs: 0, userMs: 0, systemMs: 0, peakMemory: 0, oomKills: 0 };
  return StepResult.parse({ ...usual, ...counts, stdout: out, stderr: err, ...more });
}

/** A run in a warm sandbox of the node `local`: one step, nothing changed. Its outcome is the last step's. */
export function aRunResult(more: Partial<RunResult> = {}): RunResult {
  const steps = more.steps ?? [aStepResult(more.outcome === undefined ? {} : { outcome: more.outcome })];
  const outcome = steps.at(-1)?.outcome ?? { kind: 'exited', code: 0 };
  const names = { id: 'run1', image: 'gcc-assert', node: 'local' };
  const timings = { queueMs: 0, acquireMs: 0, executeMs: 0, collectMs: 0, totalMs: 0 };
  return RunResult.parse({
    ...{ ...names, attempt: 1, warm: true, resumed: false, outcome, steps, changes: noChanges(), timings },
    ...more,
  });
}

/** A request for one step without files. */
export const aRequest = (more: Partial<RunRequest> = {}): RunRequest => ({
  image: 'any',
  files: [],
  steps: [{ argv: ['true'] }],
  ...more,
});

/** A ready node that has reported nothing yet. */
export const aNode = (more: Partial<NodeSummary> = {}): NodeSummary =>
  NodeSummary.parse({
    ...{ name: 'a', endpoint: 'unix:///a', state: 'ready', cordoned: 'no', why: 'not probed yet' },
    ...{ labels: {}, runtimes: [], enforces: [], cpus: 0, images: 0 },
    ...{ memory: { total: 0, bookable: 0, booked: 0, free: 0 }, sandboxes: { idle: 0, busy: 0 } },
    ...more,
  });
