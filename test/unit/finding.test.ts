import assert from 'node:assert/strict';
import { coreDumps } from '../../src/cli/doctor/machine.ts';
import { landlock } from '../../src/drivers/finding.ts';

describe('doctor: findings about a kernel', () => {
  it('warns of a kernel on which a program can make the kernel kill its supervisor', () => {
    for (const kernel of ['3.10.0-1160.el7', '4.19.0', '5.15.0-91-generic', '5.18'])
      for (const [asks, end] of [
        [true, /is lost then, unless the engine can give sandboxes CAP_SYS_RESOURCE$/],
        [false, /is lost then$/],
      ] as const) {
        const [finding, ...more] = landlock({ kernel }, asks);
        assert.deepEqual([finding?.state, more], ['weak', []], kernel);
        assert.match(finding?.what ?? '', end);
      }
    for (const kernel of ['5.19.0', '6.1.0-18-amd64', '10.0', 'unknown']) assert.deepEqual(landlock({ kernel }, true), [], kernel);
  });

  it('warns of cores that go to a handler', () => {
    const [finding] = coreDumps('|/usr/share/apport/apport -p%p\n');
    assert.match(finding?.what ?? '', /\(\|\/usr\/share\/apport\/apport\)/);
    assert.equal(coreDumps('@/run/handler.sock').length, 1);
    for (const pattern of ['core\n', '/var/cores/%e.%p', '']) assert.deepEqual(coreDumps(pattern), []);
  });
});
