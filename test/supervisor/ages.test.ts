import assert from 'node:assert/strict';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { SandboxFile } from '../../src/model/request.ts';
import { encodeFrame, hostFrame } from '../../src/protocol/frames.ts';
import { file, PipedSupervisor } from '../support/supervisor.ts';

const old = 1_000_000_000_000_000_000n;
const second = 1_000_000_000n;
/** Sends files, and waits until they are there. */
async function send(supervisor: PipedSupervisor, ...files: SandboxFile[]): Promise<void> {
  await supervisor.files(...files);
  await supervisor.conversation.send(encodeFrame(hostFrame.ping, Buffer.from('there?')));
  assert.equal((await supervisor.conversation.next()).kind, 'pong');
}
const mtime = async ({ folder }: PipedSupervisor, path: string) => (await stat(join(folder, path), { bigint: true })).mtimeNs;

describe('supervisor: files that come after a step', () => {
  it('are newer than what the step built, when their content is another, whatever their own stamp', async () => {
    await using supervisor = await (await PipedSupervisor.start()).open();
    await send(supervisor, file('changed', 'a', old), file('grown', 'a', old), file('ahead', 'a', old), file('never', 'x', old));
    assert.equal(await mtime(supervisor, 'changed'), old, 'before the first step a stamp is kept as it is');
    await supervisor.run(['sh', '-c', 'cp changed built']);
    await supervisor.collect();
    const ahead = BigInt(Date.now() + 100_000) * 1_000_000n;
    await send(supervisor, file('changed', 'b', old), file('grown', 'ab', -5n), file('ahead', 'b', ahead), file('new', 'n', old));
    const built = await mtime(supervisor, 'built');
    for (const path of ['changed', 'grown', 'new']) assert.ok((await mtime(supervisor, path)) > built, path);
    assert.equal(await mtime(supervisor, 'ahead'), ahead);
    assert.equal(await mtime(supervisor, 'never'), old);
  });

  // Linux 6.13 and later give a file whose time was read the clock's own time, which is ahead of the last tick.
  it('are newer than what the step built last, on kernels with multigrain time stamps too', async () => {
    await using supervisor = await (await PipedSupervisor.start()).open();
    await send(supervisor, file('source', '0', old));
    for (let round = 1; round <= 20; round++) {
      await supervisor.run(['sh', '-c', 'printf a > built; stat built > /dev/null; printf b > built']);
      await send(supervisor, file('source', 'x'.repeat(1 + (round % 2)), old));
      assert.ok((await mtime(supervisor, 'source')) > (await mtime(supervisor, 'built')), `round ${round}`);
      await supervisor.run(['touch', 'rebuilt']);
      assert.ok((await mtime(supervisor, 'rebuilt')) >= (await mtime(supervisor, 'source')), `round ${round}`);
    }
  });

  it('have another whole second than a predecessor of the same size, for Python knows a source by these two', async () => {
    await using supervisor = await (await PipedSupervisor.start()).open();
    const future = BigInt(Math.floor(Date.now() / 1000) + 1_000_000) * second;
    await send(supervisor, file('now', '1', BigInt(Date.now()) * 1_000_000n), file('future', '1', future + 5n));
    await supervisor.run(['true']);
    const before = await mtime(supervisor, 'now');
    await send(supervisor, file('now', '2', before), file('future', '2', future));
    assert.ok((await mtime(supervisor, 'now')) / second > before / second);
    assert.ok((await mtime(supervisor, 'now')) < BigInt(Date.now() + 1_000) * 1_000_000n, 'and not one of the future');
    assert.equal(await mtime(supervisor, 'future'), future + second);
  });

  it('keep their time when their content is the same', async () => {
    await using supervisor = await (await PipedSupervisor.start()).open();
    await send(supervisor, file('same', 'a', old), file('touched', 'a', old));
    await supervisor.run(['sleep', '0.1']);
    await supervisor.collect();
    await send(supervisor, file('same', 'a', old - 5n, 0o755), file('touched', 'a', old + second, 0o755));
    assert.deepEqual([await mtime(supervisor, 'same'), await mtime(supervisor, 'touched')], [old, old + second]);
  });

  it('are newer also when the program changed what lies there, and the content that was given comes again', async () => {
    await using supervisor = await (await PipedSupervisor.start()).open();
    await send(supervisor, file('source', 'a', old));
    await supervisor.run(['sh', '-c', 'printf b > source; cp source built; sleep 0.1']);
    await send(supervisor, file('source', 'a', old));
    assert.ok((await mtime(supervisor, 'source')) > (await mtime(supervisor, 'built')));
  });
});
