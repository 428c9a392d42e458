import { randomUUID } from 'node:crypto';
import { day } from '../../../src/base/units.ts';
import { Placing } from '../../../src/model/placing.ts';
import type { RunRequest } from '../../../src/model/request.ts';
import type { RunResult } from '../../../src/model/result.ts';
import { Store } from '../../../src/store/store.ts';

/** What lies in a run's result. */
export interface Filling {
  runs: number;
  /** Files of each result, and bytes of each file. */
  files: number;
  fileBytes: number;
  /** How long ago they ended, ms; the retention of the default configuration forgets them after a week. */
  ago?: number;
}

export const tenants = ['school-a', 'school-b', 'school-c', 'school-d'];
export const images = ['gcc:latest', 'python:latest', 'java:latest'];

export const someRequest = (index: number): RunRequest => ({
  image: images[index % images.length] ?? 'gcc:latest',
  files: [{ path: 'main.c', content: Buffer.from('int main(void) { return 0; }\n'.repeat(20)) }],
  steps: [{ argv: ['make', 'test'], env: {}, required: true }],
});

/** A result with an output of 600 bytes. */
export function someResult(id: string, index: number, { files, fileBytes }: Pick<Filling, 'files' | 'fileBytes'>): RunResult {
  return {
    id,
    image: images[index % images.length] ?? 'gcc:latest',
    node: `node-${index % 7}`,
    attempt: 1,
    warm: true,
    resumed: false,
    outcome: { kind: 'exited', code: index % 2 },
    steps: [
      {
        outcome: { kind: 'exited', code: index % 2 },
        stdout: Buffer.from('ok 1 - it adds\nok 2 - it multiplies\n'.repeat(16)),
        stderr: Buffer.alloc(0),
        stdoutBytes: 592,
        stderrBytes: 0,
        stdoutCut: false,
        stderrCut: false,
        wallMs: 12,
        userMs: 8,
        systemMs: 2,
        peakMemory: 4 << 20,
        oomKills: 0,
        exitCode: index % 2,
      },
    ],
    changes: {
      files: Array.from({ length: files }, (_, at) => ({
        change: 'created' as const,
        path: `made-${at}.bin`,
        mode: 0o644,
        mtimeNs: 1_700_000_000_000_000_000n,
        content: Buffer.alloc(fileBytes, index + at),
      })),
      folders: [],
      deleted: [],
      omitted: [],
      omittedCount: 0,
    },
    timings: { queueMs: 1, acquireMs: 1, executeMs: 14, collectMs: 1, totalMs: 17 },
  };
}

/** How many runs are written at once: the journal writes what waits in one group. */
const atOnce = 500;

/** Fills a new journal with ended runs, by the journal's own calls. @param whenFull called before the journal is closed */
export async function fillJournal(file: string, filling: Filling, whenFull?: () => void): Promise<string[]> {
  const { runs, ago = 8 * day } = filling;
  await using store = await Store.open(file);
  const ids = Array.from({ length: runs }, () => randomUUID());
  const begun = Date.now() - ago;
  const write = async (index: number) => {
    const id = ids[index] ?? '';
    const at = begun + index;
    const tenant = tenants[index % tenants.length] ?? '';
    await store.accept({
      ...{ id, tenant, at },
      key: `key-${index}`,
      sent: { index },
      request: someRequest(index),
      placing: Placing.parse({ tenant }),
    });
    void store.begin(id, 1, { node: `node-${index % 7}`, warm: true }, at);
    await store.finish(id, 1, someResult(id, index, filling), at);
  };
  let next = 0;
  const writer = async () => {
    for (let index = next++; index < runs; index = next++) await write(index);
  };
  await Promise.all(Array.from({ length: filling.fileBytes > 50_000 ? 8 : atOnce }, writer));
  whenFull?.();
  return ids;
}
