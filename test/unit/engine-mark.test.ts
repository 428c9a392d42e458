import assert from 'node:assert/strict';
import { profileOf, sandboxLimits } from '../../src/model/profile.ts';
import { EngineDriver } from '../../src/drivers/engine/driver.ts';
import { capabilities } from '../../src/drivers/docker/isolation.ts';
import { creating, stubEngine } from '../support/stub-engine.ts';

const spec = { image: { name: 'x', id: 'sha256:1', volumes: [] }, limits: sandboxLimits(profileOf()), labels: {}, name: 'one', idleMs: 5 };
const own = [...capabilities];
const marked = [...capabilities, 'SYS_RESOURCE'];

describe('engine: a kernel without Landlock', () => {
  /** Which capabilities are asked for, one sandbox after another, of an engine with this kernel that refuses SYS_RESOURCE with these words. */
  async function asked(KernelVersion: string, refusal?: string): Promise<(string[] | undefined)[]> {
    const all: (string[] | undefined)[] = [];
    await using engine = await stubEngine(
      { '/info': (_request, response) => void response.end(JSON.stringify({ Name: 'stub', Architecture: 'x86_64', KernelVersion })) },
      creating(({ HostConfig }) => {
        all.push(HostConfig.CapAdd);
        return refusal !== undefined && HostConfig.CapAdd?.includes('SYS_RESOURCE') ? refusal : 'told to fail';
      }),
    );
    const driver = new EngineDriver({ endpoint: engine.endpoint });
    await assert.rejects(driver.create(spec), /told to fail/);
    await assert.rejects(driver.create(spec), /told to fail/);
    driver.close();
    return all;
  }

  it('has the supervisor get the capability that keeps its mark', async () => {
    for (const kernel of ['3.10.0-1160.el7', '5.15.0-91-generic']) assert.deepEqual(await asked(kernel), [marked, marked], kernel);
  });

  it('is tried once where the engine can’t give it, in whatever words', async () => {
    for (const words of [
      'OCI runtime create failed: runc create failed: unable to start container process: unable to apply caps: operation not permitted: unknown',
      'invalid CapAdd: capability not supported by your kernel or not available in the current environment: "CAP_SYS_RESOURCE"',
      'crun: prctl set bounding: Operation not permitted',
    ])
      assert.deepEqual(await asked('4.19.0', words), [marked, own, own], words);
  });

  it('is not asked for of a kernel that has it, or does not tell what it is', async () => {
    for (const kernel of ['5.19.0', '6.1.0-18-amd64', 'unknown']) assert.deepEqual(await asked(kernel), [own, own], kernel);
  });
});
