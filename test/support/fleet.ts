import assert from 'node:assert/strict';
import { defaultUids } from '../../src/model/users.ts';
import { Katafleet, type KatafleetOptions, type RunRequest, type RunResult, type StepInput } from '../../src/app/library.ts';

/** The engine for integration tests; scripts/test starts a private one. */
export const endpoint = process.env['DOCKER_HOST'] ?? '';

/** A busy machine may answer late, ms. */
const health = { intervalMs: 2_000, timeoutMs: 5_000, failures: 3, successes: 1 };

/** Opens a katafleet on the tests' engine. Its background troubles fail the test that caused them. */
export function testFleet(options: KatafleetOptions = {}): Katafleet {
  assert.notEqual(endpoint, '', 'DOCKER_HOST must name an engine that the tests may use; scripts/test sees to it');
  return new Katafleet({ endpoint, health, ...options });
}

/** Runs a shell script in a sandbox of build-essential. */
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

/** A script that ends this many seconds from now, however late or often it begins: time to break what it runs on. */
export function forSeconds(seconds: number): string {
  const end = Math.ceil(Date.now() / 1000) + seconds;
  return `while [ $(date +%s) -lt ${end} ]; do sleep 0.1; done`;
}

/** Replaces the uid at the text's start by UID, if it is in the range of the sandboxes' uids. */
export function withoutUid(text: string): string {
  return text.replace(/^\d+/, (uid) => {
    const at = Number(uid) - defaultUids.first;
    return at >= 0 && at < defaultUids.count ? 'UID' : uid;
  });
}
