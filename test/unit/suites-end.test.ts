import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { until } from '../support/until.ts';

const library = fileURLToPath(new URL('../../scripts/lib/', import.meta.url));
/** In the place of mocha: says its process id, and goes on. */
const mocha = '#!/bin/sh\necho "mocha $$" >&3\n: > started\nexec sleep 600\n';
/** In the place of `timeout`: as it is before it knows what it has started. It ends by the signal, and passes it on to nobody. */
const timeout = `#!/usr/bin/perl
setpgrp; shift; shift;
if (!fork) { exec @ARGV }
$SIG{TERM} = sub { exit 143 };
sleep;
`;
const script = (suite: string) => `
set -euo pipefail
. '${library}messages.sh'; . '${library}totals.sh'
trap mocha_suite_ended EXIT
trap 'exit 130' INT
${suite}
`;
/** The shell is interrupted before it does anything with the process id of what it has just started. */
const inTheMoment = `set -T; trap 'case $BASH_COMMAND in *"\\$!"*) until [ -e started ]; do sleep 0.01; done; kill -INT $$ ;; esac' DEBUG`;

const lives = (pid: number) => {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
};

describe('a script of suites that is interrupted', () => {
  const alone = 'mocha_suite unit x';
  const beside = 'mocha_suite_beside unit x; while :; do sleep 0.1; done';
  const command = 'two() { endable true && endable node_modules/.bin/mocha; }; check_beside two two; while :; do sleep 0.1; done';
  for (const [what, suite, itself, programs] of [
    ['one that runs', alone, false, {}],
    ['one that runs beside another', beside, false, {}],
    ['one that it has just started', `${inTheMoment}; ${alone}`, true, {}],
    ['one that it has just started beside another', `${inTheMoment}; ${beside}`, true, {}],
    ['a command that runs beside', command, false, {}],
    ['one that its timeout does not know of yet', alone, false, { timeout }],
  ] as const) {
    it(`ends at once, and ends ${what}`, async () => {
      const folder = await mkdtemp(join(tmpdir(), 'katafleet-suites-'));
      try {
        const bin = join(folder, 'node_modules/.bin');
        await mkdir(bin, { recursive: true });
        for (const [name, text] of Object.entries({ mocha, ...programs })) await writeFile(join(bin, name), text, { mode: 0o755 });
        const child = spawn('bash', ['-c', script(suite)], {
          cwd: folder,
          env: { ...process.env, PATH: `${bin}:${process.env.PATH}` },
          stdio: ['ignore', 'ignore', 'ignore', 'pipe'],
        });
        const exit = once(child, 'exit');
        const said = child.stdio[3];
        assert.ok(said && 'readable' in said);
        const [line] = (await once(createInterface({ input: said as NodeJS.ReadableStream }), 'line')) as [string];
        const pid = Number(line.split(' ')[1]);
        try {
          if (!itself) child.kill('SIGINT');
          assert.deepEqual(await exit, [130, null]);
          await until(() => !lives(pid));
        } finally {
          if (lives(pid)) process.kill(pid, 'SIGKILL');
          child.kill('SIGKILL');
        }
      } finally {
        await rm(folder, { recursive: true });
      }
    });
  }
});
