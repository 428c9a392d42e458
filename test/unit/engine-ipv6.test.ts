import assert from 'node:assert/strict';
import { profileOf, sandboxLimits } from '../../src/model/profile.ts';
import { EngineDriver } from '../../src/drivers/engine/driver.ts';
import { creating, stubEngine } from '../support/stub-engine.ts';

const spec = { image: { name: 'x', id: 'sha256:1', volumes: [] }, limits: sandboxLimits(profileOf()), labels: {}, name: 'one', idleMs: 5 };

describe('engine: a kernel without IPv6', () => {
  it('has sandboxes without ::1, and is tried once', async () => {
    const asked: (string | undefined)[] = [];
    const no = '/proc/sys/net/ipv6/conf/lo/disable_ipv6: no such file or directory';
    await using engine = await stubEngine(
      {},
      creating(({ HostConfig }) => {
        asked.push(HostConfig.Sysctls?.['net.ipv6.conf.lo.disable_ipv6']);
        return HostConfig.Sysctls ? `error during container init: open ${no}` : 'told to fail';
      }),
    );
    const driver = new EngineDriver({ endpoint: engine.endpoint });
    await assert.rejects(driver.create(spec), /told to fail/);
    await assert.rejects(driver.create(spec), /told to fail/);
    assert.deepEqual(asked, ['0', undefined, undefined]);
  });
});
