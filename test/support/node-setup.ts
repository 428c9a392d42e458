import assert from 'node:assert/strict';
import { copyFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { supervisorFile } from '../../src/drivers/docker/supervisor.ts';
import { type Said, said } from './said.ts';
import type { Testbed } from './testbed.ts';

const scripts = fileURLToPath(new URL('../../scripts', import.meta.url));
const folder = '/tmp/katafleet';

/** Runs a command on a host that must succeed; returns its output. */
export function must(bed: Testbed, host: string, words: readonly string[], input: string | Buffer = ''): string {
  const { code, stdout, stderr } = bed.on(host, words, input);
  assert.equal(code, 0, `${words.join(' ')} on ${host}: ${stderr}${stdout}`);
  return stdout;
}

/** Puts the set-up scripts and a supervisor on a host, as docs/legacy.md says. */
export function copyScripts(bed: Testbed, host: string): void {
  must(bed, host, ['mkdir', '-p', folder]);
  const { stdout } = said('sh', ['-c', 'tar -C "$1" -c node-setup server-setup rsync-setup node lib/changes.sh | base64', 'sh', scripts]);
  must(bed, host, ['sh', '-c', `base64 -d | tar -x -C ${folder}`], stdout);
  copyFileSync(supervisorFile('amd64'), bed.path(host, `${folder}/supervisor`));
}

/** Runs one of the scripts on a host, by the shell given as a command and its first words. */
export function setUp(
  bed: Testbed,
  host: string,
  script: 'node-setup' | 'server-setup' | 'rsync-setup',
  words: readonly string[],
  { input = '', shell = ['sh'] }: { input?: string; shell?: readonly string[] } = {},
): Said {
  return bed.on(host, [...shell, `${folder}/${script}`, ...words], input);
}
