import assert from 'node:assert/strict';
import { KatafleetError } from '../../../src/model/errors.ts';
import { RemoteDocker } from '../../../src/drivers/ssh/remote.ts';
import type { CommandResult, SshTransport } from '../../../src/drivers/transport/transport.ts';

const fatal = (message: string) => `time="2026-11-25T01:00:00Z" level=fatal msg="${message}"\n`;
const container = JSON.stringify([
  { Id: 'ab'.repeat(32), Name: '/katafleet-1', State: { Running: true, ExitCode: 0 }, Config: { Labels: null } },
]);

/** A node whose docker answers by a script: each command by its next answer, the last one for ever. */
function node(answers: Record<string, Partial<CommandResult>[]>): { remote: RemoteDocker; asked: string[] } {
  const asked: string[] = [];
  const run = ([, verb = '']: readonly string[]) => {
    asked.push(verb);
    const left = answers[verb] ?? assert.fail(`docker ${verb} is not expected`);
    return Promise.resolve({ code: 0, stdout: '', stderr: '', ...(left.length > 1 ? left.shift() : left[0]) });
  };
  return { remote: new RemoteDocker({ at: 'node', run, renew: () => undefined } as unknown as SshTransport), asked };
}

describe('docker on a node, over ssh', () => {
  it('inspect leaves out missing names', async () => {
    for (const says of [
      'Error: No such image or container: x',
      'Error: No such object: x',
      'Error response from daemon: No such container: x',
    ]) {
      const { remote } = node({ inspect: [{ code: 1, stdout: container, stderr: `${says}\n` }] });
      const { containers } = await remote.inspect(['x', 'katafleet-1']);
      assert.deepEqual(
        containers.map(({ name }) => name),
        ['katafleet-1'],
      );
    }
  });

  it('inspect fails, and reports no missing names, when the daemon stops', async () => {
    const missing = 'Error: No such image or container: x\n';
    const leaving = 'Error response from daemon: engine is shutdown';
    const noSocket =
      'Get http:///var/run/docker.sock/v1.18/images/x/json: dial unix /var/run/docker.sock: no such file or directory. Are you trying to connect to a TLS-enabled daemon without TLS?';
    for (const stderr of [leaving, missing + leaving, leaving + missing, missing + noSocket, noSocket]) {
      const { remote } = node({ inspect: [{ code: 1, stdout: '[]', stderr }] });
      await assert.rejects(
        remote.inspect(['x', 'y']),
        (error) => error instanceof KatafleetError && error.code === 'engine.unreachable' && error.retry,
        stderr,
      );
    }
  });

  const destroyed = 'Could not kill running container, cannot remove - [2] Container does not exist: container destroyed';
  const failed = {
    code: 1,
    stderr: `Error response from daemon: ${destroyed}\n${fatal('Error: failed to remove one or more containers')}`,
  };

  it('a failed removal is tried again while the container stays', async () => {
    const gone = { code: 1, stdout: '[]', stderr: 'Error: No such image or container: katafleet-1\n' };
    const stays = Array.from({ length: 50 }, () => ({ stdout: container }));
    const { remote, asked } = node({ rm: [failed, { stdout: 'katafleet-1\n' }], inspect: stays });
    const [first] = await Promise.all([
      remote.remove('katafleet-1'),
      (async () => {
        while (asked.filter((verb) => verb === 'rm').length < 2) await new Promise((resolve) => setTimeout(resolve, 10));
        stays.splice(0, stays.length, gone as never);
      })(),
    ]);
    assert.deepEqual([first, asked.filter((verb) => verb === 'rm').length], [undefined, 2]);
  });

  it('a failed removal succeeds if the container disappears', async () => {
    const gone = { code: 1, stdout: '[]', stderr: 'Error: No such image or container: katafleet-1\n' };
    const { remote, asked } = node({ rm: [failed], inspect: [{ stdout: container }, gone] });
    await remote.remove('katafleet-1');
    assert.deepEqual(asked, ['rm', 'inspect', 'inspect']);
  });
});
