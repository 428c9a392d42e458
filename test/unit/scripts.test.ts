import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../', import.meta.url));
/** What runs on nodes of any age, by whatever their /bin/sh is. */
const plain = [
  'scripts/node-setup',
  'scripts/server-setup',
  'scripts/node/katafleet-gate',
  'scripts/node/firewall',
  'scripts/node/katafleet-firewall.init',
  'scripts/server/katafleet.init',
  'scripts/lib/changes.sh',
  'test/support/docker-1.6/docker',
];
const shells = [['sh'], ['dash'], ['bash', '--posix'], ['busybox', 'sh']].filter(([shell = '']) => !spawnSync(shell, ['-c', ':']).error);

describe('scripts for old hosts', () => {
  for (const script of plain) {
    it(`${script} is plain sh`, () => {
      const text = readFileSync(`${root}${script}`, 'utf8');
      assert.match(text, script.startsWith('scripts/lib/') ? /^# shellcheck shell=sh\n/ : /^#!\/bin\/sh\n/);
      assert.doesNotMatch(text, /^\s*(local|declare|function) |\[\[ /m, 'words that POSIX lacks');
      for (const [shell = '', ...words] of shells) {
        const { status, stderr } = spawnSync(shell, [...words, '-n', `${root}${script}`], { encoding: 'utf8' });
        assert.equal(status, 0, `${shell}: ${stderr}`);
      }
    });
  }

  for (const script of ['scripts/node-setup', 'scripts/server-setup']) {
    it(`${script} --help says how it is used`, () => {
      const { status, stdout } = spawnSync('sh', [`${root}${script}`, '--help'], { encoding: 'utf8' });
      assert.equal(status, 0);
      for (const option of readFileSync(`${root}${script}`, 'utf8').match(/^ {4}(--[a-z-]+)(?=[ )])/gm) ?? [])
        assert.ok(stdout.includes(option.trim()), option);
    });
  }
});
