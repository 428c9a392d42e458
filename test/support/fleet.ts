import assert from 'node:assert/strict';
import { defaultUids } from '../../src/model/users.ts';
import { Katafleet, type KatafleetOptions, type RunRequest, type RunResult, type StepInput } from '../../src/app/library.ts';

/** The engine that the integration tests may use; scripts/test starts a private one. */
export const endpoint = process.env['DOCKER_HOST'] ?? '';

/** A busy machine may answer late. */
const health = { intervalMs: 2_000, timeoutMs: 5_000, failures: 3, successes: 1 };

/** An open katafleet on the tests' engine; troubles in the background fail the test that caused them. */
export function testFleet(options: KatafleetOptions = {}): Katafleet {
  assert.notEqual(endpoint, '', 'DOCKER_HOST must name an engine that the tests may use; scripts/test sees to it');
  return new Katafleet({ endpoint, health, ...options });
}

/** A shell script in a sandbox of build-essential. */
export function sh(
  fleet: Katafleet,
  script: string,
  request: Partial<RunRequest> = {},
  step: Omit<StepInput, 'argv'> = {},
): Promise<RunResult> {
  return fleet.run({ image: 'build-essential', files: [], steps: [{ argv: ['bash', '-c', script], ...step }], ...request });
}

export const stdout = (result: RunResult): string => result.steps.map((step) => step.stdout.toString()).join('');
export const stderr = (result: RunResult): string => result.steps.map((step) => step.stderr.toString()).join('');

/** A script that ends so many seconds from now, however late it begins, and however often: time enough to break what it runs on. */
export function forSeconds(seconds: number): string {
  const end = Math.ceil(Date.now() / 1000) + seconds;
  return `while [ $(date +%s) -lt ${end} ]; do sleep 0.1; done`;
}

/** The text with UID in place of what begins it: a uid of the range that sandboxes have theirs from. */
export function withoutUid(text: string): string {
  return text.replace(/^\d+/, (uid) => {
    const at = Number(uid) - defaultUids.first;
    return at >= 0 && at < defaultUids.count ? 'UID' : uid;
  });
}
