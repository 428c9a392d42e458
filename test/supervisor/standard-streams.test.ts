import assert from 'node:assert/strict';
import { PipedSupervisor } from '../support/supervisor.ts';

describe('supervisor: standard streams by name', () => {
  for (const [title, script] of Object.entries({
    'a shell’s redirection': 'echo out > /dev/stdout; echo err > /dev/stderr',
    tee: 'echo out; echo err | tee /dev/stderr >/dev/null',
    '/proc/self/fd': 'echo out > /proc/self/fd/1; echo err >> /dev/fd/2',
    'sort -o': 'echo out | sort -o /dev/stdout; echo err | sort -o /dev/stderr',
    python: `python3 -c "open('/dev/stdout','w').write('out\\n'); open('/dev/stderr','w').write('err\\n')"`,
  })) {
    it(`can be opened: ${title}`, async () => {
      await using supervisor = await (await PipedSupervisor.start()).open();
      const { stdout, stderr } = await supervisor.run(['sh', '-c', script]);
      assert.deepEqual([stdout.toString(), stderr.toString()], ['out\n', 'err\n']);
    });
  }

  it('standard input can be opened, given or empty', async () => {
    await using supervisor = await (await PipedSupervisor.start()).open();
    assert.equal((await supervisor.run(['cat', '/dev/stdin'], { stdin: Buffer.from('in') })).stdout.toString(), 'in');
    assert.deepEqual((await supervisor.run(['cat', '/dev/stdin'])).outcome, { kind: 'exited', code: 0 });
  });
});
