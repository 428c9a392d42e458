import assert from 'node:assert/strict';
import type { IncomingMessage } from 'node:http';
import { profileOf, sandboxLimits } from '../../src/core/profile.ts';
import { EngineDriver } from '../../src/drivers/engine/driver.ts';
import { stubEngine } from '../support/stub-engine.ts';

const spec = { image: { name: 'x', id: 'sha256:1', volumes: [] }, limits: sandboxLimits(profileOf()), labels: {}, name: 'one', idleMs: 5 };

interface Created {
  HostConfig: { Sysctls?: Record<string, string> };
}

async function bodyOf(request: IncomingMessage): Promise<Created> {
  const parts: Buffer[] = [];
  for await (const part of request) parts.push(part as Buffer);
  return JSON.parse(Buffer.concat(parts).toString()) as Created;
}

describe('engine: a kernel without IPv6', () => {
  it('has sandboxes without ::1, and is tried once', async () => {
    const asked: (string | undefined)[] = [];
    const no = '/proc/sys/net/ipv6/conf/lo/disable_ipv6: no such file or directory';
    await using engine = await stubEngine({}, (request, response) => {
      const end = (status: number, body: object) =>
        void response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
      if (request.url?.includes('/containers/create')) {
        void bodyOf(request).then(({ HostConfig }) => {
          asked.push(HostConfig.Sysctls?.['net.ipv6.conf.lo.disable_ipv6']);
          end(HostConfig.Sysctls ? 500 : 507, { message: HostConfig.Sysctls ? `error during container init: open ${no}` : 'told to fail' });
        });
      } else end(404, { message: 'no such path' });
    });
    const driver = new EngineDriver({ endpoint: engine.endpoint });
    await assert.rejects(driver.create(spec), /told to fail/);
    await assert.rejects(driver.create(spec), /told to fail/);
    assert.deepEqual(asked, ['0', undefined, undefined]);
  });
});
