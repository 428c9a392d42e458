import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const library = fileURLToPath(new URL('../../scripts/lib/', import.meta.url));
/** In the place of mocha: says its process id, and goes on. */
const mocha = '#!/bin/sh\necho "mocha $$" >&3\nexec sleep 600\n';
const script = (suite: string) => `
set -euo pipefail
. '${library}messages.sh'; . '${library}totals.sh'
trap mocha_suite_ended EXIT
trap 'exit 130' INT
${suite}
`;

const lives = (pid: number) => {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
};

describe('a script of suites that is interrupted', () => {
  for (const [where, suite] of [
    ['one that runs', 'mocha_suite unit x'],
    ['one that runs beside another', 'mocha_suite_beside unit x; while :; do sleep 0.1; done'],
  ] as const) {
    it(`ends at once, and ends ${where}`, async () => {
      const folder = await mkdtemp(join(tmpdir(), 'katafleet-suites-'));
      try {
        await mkdir(join(folder, 'node_modules/.bin'), { recursive: true });
        await writeFile(join(folder, 'node_modules/.bin/mocha'), mocha, { mode: 0o755 });
        const child = spawn('bash', ['-c', script(suite)], { cwd: folder, stdio: ['ignore', 'ignore', 'ignore', 'pipe'] });
        const said = child.stdio[3];
        assert.ok(said && 'readable' in said);
        const [line] = (await once(createInterface({ input: said as NodeJS.ReadableStream }), 'line')) as [string];
        const pid = Number(line.split(' ')[1]);
        try {
          child.kill('SIGINT');
          assert.deepEqual(await once(child, 'exit'), [130, null]);
          assert.equal(lives(pid), false);
        } finally {
          if (lives(pid)) process.kill(pid, 'SIGKILL');
          child.kill('SIGKILL');
        }
      } finally {
        await rm(folder, { recursive: true });
      }
    }).timeout(10_000);
  }
});
