import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { RunRequest } from '../../src/model/request.ts';
import { type Changes, noChanges, type RunResult } from '../../src/model/result.ts';
import type { RunTest } from '../../src/katas/avatar-test.ts';
import { gitEnvironment, gitSettings } from '../../src/katas/git.ts';
import { Rules } from '../../src/katas/rules.ts';
import type { WholeFile } from '../../src/katas/kata-files.ts';
import type { StartPoint } from '../../src/katas/start-point.ts';
import { type KatasOptions, Katas } from '../../src/katas/store.ts';
import { aRunResult, aStepResult } from './builders.ts';

export const file = (path: string, content: string | Uint8Array = path, more: Partial<WholeFile> = {}): WholeFile => ({
  path,
  mode: 0o644,
  mtimeNs: 1_700_000_000_123_456_789n,
  content: Buffer.from(content),
  ...more,
});

export const startPoint = (rules: unknown = {}, files = [file('cyber-dojo.sh', 'make test'), file('hiker.c', 'int x;')]): StartPoint => ({
  manifest: {
    display_name: 'C, assert',
    image_name: 'gcc-assert',
    visible_filenames: files.map(({ path }) => path),
    filename_extension: '.c',
    max_seconds: 7,
  },
  rules: Rules.parse(rules),
  files: files.map((each) => ({ ...each, content: Buffer.from(each.content) })),
});

export function result(changes: Partial<Changes> = {}, more: Partial<RunResult> = {}): RunResult {
  return aRunResult({
    outcome: { kind: 'exited', code: 0 },
    light: 'green',
    steps: [aStepResult({ stdout: 'All tests passed\n', wallMs: 5, userMs: 2, systemMs: 1, peakMemory: 1_024 })],
    changes: { ...noChanges(), ...changes },
    timings: { queueMs: 0, acquireMs: 1, executeMs: 5, collectMs: 1, totalMs: 7 },
    ...more,
  });
}

export const created = (path: string, content: string | Uint8Array = path, mode = 0o644, mtimeNs = 1_700_000_001_000_000_001n) => ({
  change: 'created' as const,
  path,
  mode,
  mtimeNs,
  content: Buffer.from(content),
});
export const changed = (path: string, content: string) => ({ ...created(path, content), change: 'changed' as const });

interface TestStore {
  katas: Katas;
  folder: string;
  requests: RunRequest[];
  troubles: string[];
  script: { run: RunTest };
  dispose(): Promise<void>;
}

/** A store in a folder of its own, with scripted runs; it keeps the requests. */
export async function testStore(options: Partial<KatasOptions> = {}): Promise<TestStore> {
  const folder = options.folder ?? (await mkdtemp(join(tmpdir(), 'katafleet-katas-')));
  const requests: RunRequest[] = [];
  const troubles: string[] = [];
  const script: { run: RunTest } = { run: () => Promise.resolve(result()) };
  const katas = new Katas({
    folder,
    run: (request, how) => {
      requests.push(request);
      return script.run(request, how);
    },
    trouble: (text) => troubles.push(text),
    ...options,
  });
  return {
    katas,
    folder,
    requests,
    troubles,
    script,
    dispose: async () => {
      await katas.close();
      // A git process of a killed katafleet may write there for a moment longer.
      await rm(folder, { recursive: true, force: true, maxRetries: 10 });
    },
  };
}

/** Returns git's output for a repository. */
export async function git(repository: string, ...args: string[]): Promise<string> {
  const { stdout } = await promisify(execFile)('git', [...gitSettings, `--git-dir=${repository}`, ...args], {
    env: gitEnvironment(),
    maxBuffer: 64 * 1024 * 1024,
  });
  return stdout;
}
