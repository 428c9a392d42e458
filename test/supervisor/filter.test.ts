import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { file, PipedSupervisor } from '../support/supervisor.ts';

describe('supervisor: system calls', () => {
  it('refuses a program mounts and namespaces of its own, by whatever number it asks, and lets it fork', async () => {
    await using supervisor = await (await PipedSupervisor.start()).open();
    const program = join(supervisor.folder, 'calls');
    const source = fileURLToPath(new URL('../support/calls.c', import.meta.url));
    await promisify(execFile)('gcc', ['-static', '-o', program, source]);
    await supervisor.files(file('try', await readFile(program), undefined, 0o755));
    const said = (await supervisor.run(['./try'])).stdout.toString();
    const answers = new Map(said.split('\n').map((line) => line.split(': ') as [string, string]));
    for (const call of ['mount', 'umount2', 'unshare', 'setns', 'fsopen', 'io_uring_setup', 'keyctl', 'clone into a user namespace'])
      assert.equal(answers.get(call), 'Operation not permitted', call);
    assert.equal(answers.get('clone3'), 'Function not implemented', 'so that a C library takes clone');
    assert.equal(answers.get('fork'), 'done');
    if (process.arch !== 'x64') return;
    assert.equal(answers.get('mount by its x32 number'), 'Function not implemented');
    assert.match(answers.get('mount by its 32-bit number') ?? '', /Operation not permitted|Function not implemented/);
  });
});
