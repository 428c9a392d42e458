import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { commandLine } from '../../../src/drivers/transport/quote.ts';

/** What sshd does with a line: the user's login shell gets it by -c. A program that is no shell tells what came out. */
const shells = ['/bin/dash', '/bin/bash'];
/** Many lines to a shell: starting one for each would take most of the time. */
const perShell = 50;

const nasty = fc.constantFrom(
  ...[
    "'",
    "''",
    '"',
    '\\',
    "\\'",
    '$HOME',
    '$(id)',
    '`id`',
    ';',
    '&',
    '|',
    '>',
    '<',
    '*',
    '?',
    '[a]',
    '~',
    '~root',
    '#',
    '!',
    '!!',
    '{a,b}',
    '=',
  ],
  ...[
    '-',
    '--',
    '-n',
    '-e',
    '\n',
    '\r\n',
    '\t',
    ' ',
    '',
    '%s',
    '\\n',
    'é',
    '語',
    '🦀',
    '\u0301',
    '\ufeff',
    '\u2028',
    '\x1b[31m',
    '\x7f',
    '(',
    ')',
  ],
);
const letters = fc.string({ unit: 'binary', maxLength: 20 }).map((text) => text.replaceAll('\0', ''));
const word = fc.oneof(
  nasty,
  letters,
  fc.array(fc.oneof(nasty, letters), { maxLength: 6 }).map((parts) => parts.join('')),
);
const argvs = fc.array(word, { minLength: 1, maxLength: 8 });

describe('the line for a remote shell', () => {
  let folder: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'katafleet-quote-'));
    // Each call appends its arguments: how many, then each, ended by a byte 0.
    writeFileSync(join(folder, 'tell'), '#!/bin/bash\nprintf \'%s\\0\' "$#" "$@" >> "$TOLD"\n', { mode: 0o755 });
  });
  after(() => rm(folder, { recursive: true }));

  function told(shell: string, all: readonly (readonly string[])[]): string[][] {
    const file = join(folder, 'told');
    writeFileSync(file, '');
    const lines = all.map((argv) => commandLine([join(folder, 'tell'), ...argv]));
    execFileSync(shell, ['-c', lines.join('\n')], { env: { PATH: '/usr/bin:/bin', HOME: '/root', TOLD: file, LC_ALL: 'C.UTF-8' } });
    const words = readFileSync(file, 'utf8').split('\0');
    const seen: string[][] = [];
    for (let at = 0; at < words.length - 1;) {
      const count = Number(words[at]);
      seen.push(words.slice(at + 1, at + 1 + count));
      at += 1 + count;
    }
    return seen;
  }

  for (const shell of shells) {
    it(`gives ${shell} exactly the words that were meant`, function () {
      this.timeout(120_000);
      fc.assert(
        fc.property(fc.array(argvs, { minLength: perShell, maxLength: perShell }), (all) => {
          assert.deepEqual(told(shell, all), all);
        }),
        { numRuns: 12 },
      );
    });
  }

  it('does not quote words without special characters', () => {
    const words = ['docker', 'run', '-i', '--ulimit', 'core=1:1', '-l', 'a=b%20', 'sha256:0f', '/sandbox:rw,exec', 'x@y+z'];
    assert.equal(commandLine(words), words.join(' '));
    assert.equal(commandLine(['', "it's", 'a b']), `'' 'it'\\''s' 'a b'`);
  });

  it('refuses a byte 0, which no argument can have', () => {
    assert.throws(() => commandLine(['docker', 'a\0b']), RangeError);
  });
});
