import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { KatafleetError } from '../../src/model/errors.ts';
import { Placing } from '../../src/model/placing.ts';
import type { RunRequest } from '../../src/model/request.ts';
import type { RunResult } from '../../src/model/result.ts';
import type { RunStore } from '../../src/model/run-store.ts';
import { aRequest, aRunResult } from './builders.ts';

/** Runs as tests of the store put them in. */

export const placing = (more: object = {}): Placing => Placing.parse(more);
export const request = (name = 'x', content: string | Buffer = 'hi'): RunRequest =>
  aRequest({
    image: 'gcc',
    files: [{ path: name, mode: 0o644, mtimeNs: 5n, content: Buffer.from(content) }],
    steps: [{ argv: ['make'] }],
  });
export const result = (id: string, more: Partial<RunResult> = {}): RunResult =>
  aRunResult({ id, image: 'gcc', node: 'a', steps: [], ...more });
/** A result with one file. */
export const withFile = (id: string, content: Buffer): RunResult =>
  result(id, {
    changes: {
      ...{ folders: [], deleted: [], omitted: [], omittedCount: 0 },
      files: [{ change: 'created', path: 'made', mode: 0o644, mtimeNs: 1n, content }],
    },
  });
export const failure = { code: 'engine.failed', message: 'broken' };
export const refuses = (code: string) => (thrown: unknown) => thrown instanceof KatafleetError && thrown.code === code;

interface Accepted {
  key?: string;
  tenant?: string;
  at?: number;
  sent?: object;
  request?: RunRequest;
}
/** Accepts runs of a store. */
export const accepting =
  (store: () => RunStore) =>
  (id: string, { tenant = 'default', ...more }: Accepted = {}) =>
    store().accept({ id, tenant, request: request(), placing: placing({ tenant }), at: 1_000, ...more });

/** Stores a run that has ended. */
export async function finished(store: RunStore, id: string, of: RunResult = result(id), at = 2): Promise<void> {
  await accepting(() => store)(id);
  void store.begin(id, 1, { node: 'a' }, 1);
  if (!(await store.finish(id, 1, of, at))) throw new Error(`${id} did not finish`);
}

/** A folder for a journal. */
export function journalFolder(): { folder: string; file: string; remove: () => void } {
  const folder = mkdtempSync(join(tmpdir(), 'katafleet-journal-'));
  return { folder, file: join(folder, 'state/journal.db'), remove: () => rmSync(folder, { recursive: true, force: true }) };
}
