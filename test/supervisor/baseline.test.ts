import assert from 'node:assert/strict';
import { chmod, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { profileOf } from '../../src/model/profile.ts';
import { encodeFrame, hostFrame } from '../../src/protocol/frames.ts';
import { ability } from '../../src/protocol/replies.ts';
import { listing } from '../../src/runs/attempt/download.ts';
import { file, PipedSupervisor } from '../support/supervisor.ts';

describe('the supervisor’s baselines and lists', () => {
  const opened = async () => (await PipedSupervisor.start()).open();
  const baseline = async ({ conversation }: PipedSupervisor) => {
    await conversation.send(encodeFrame(hostFrame.baseline));
    return conversation.next();
  };
  const list = async ({ conversation }: PipedSupervisor) => {
    await conversation.send(encodeFrame(hostFrame.list));
    return listing(conversation, profileOf());
  };
  const shell = (supervisor: PipedSupervisor, script: string) => supervisor.run(['sh', '-c', script]);

  it('says that it knows them', async () => {
    await using supervisor = await opened();
    assert.ok(supervisor.conversation.can(ability.baseline));
  });

  it('a baseline takes what a step brought, without a word of it', async () => {
    await using supervisor = await opened();
    await shell(supervisor, `printf abc > brought; printf keep > 'with space'; mkdir -p hollow d; printf x > d/e; ln -s brought link`);
    assert.deepEqual(await baseline(supervisor), { kind: 'collected', files: 3, bytes: 8, omitted: 0 });
    await shell(supervisor, `printf ABC > brought; touch 'with space'; rm -r hollow d; printf new > made`);
    const { files, folders, deleted, omitted } = await supervisor.collect();
    assert.deepEqual(
      files.map(({ change, path, content }) => [change, path, content.toString()]),
      [
        ['changed', 'brought', 'ABC'],
        ['created', 'made', 'new'],
      ],
    );
    assert.deepEqual([folders, deleted.sort()], [[], ['d/e', 'hollow']]);
    assert.deepEqual(omitted, [{ path: 'link', reason: 'symlink' }]);
  });

  it('a baseline forgets what came by the stream and is gone, and keeps what has stayed', async () => {
    await using supervisor = await opened();
    await supervisor.files(file('stays', 'a'), file('goes', 'b'), file('becomes', 'c'));
    await shell(supervisor, 'rm goes becomes; mkdir becomes; printf new > becomes/file');
    assert.deepEqual(await baseline(supervisor), { kind: 'collected', files: 2, bytes: 4, omitted: 0 });
    assert.deepEqual(await supervisor.collect(), { files: [], folders: [], deleted: [], omitted: [], omittedCount: 0 });
    await shell(supervisor, 'rm -r stays becomes');
    assert.deepEqual((await supervisor.collect()).deleted.sort(), ['becomes/file', 'stays']);
  });

  it('a baseline has no bounds but the folder’s own, and reads what the user may not', async () => {
    await using supervisor = await (await PipedSupervisor.start()).open({ filesBack: 1, fileBack: 2, bytesBack: 2 });
    await shell(supervisor, 'printf long > a; printf longer > b; chmod 0 a');
    if (process.getuid?.() !== 0) await chmod(join(supervisor.folder, 'a'), 0o400);
    assert.deepEqual(await baseline(supervisor), { kind: 'collected', files: 2, bytes: 10, omitted: 0 });
    assert.equal((await supervisor.collect({ filesBack: 1, fileBack: 2, bytesBack: 2 })).omittedCount, 0);
  });

  it('a list is what a collect would send, without the bytes, and changes nothing', async () => {
    await using supervisor = await opened();
    await supervisor.files(file('changed', 'old'), file('same', 'same'), file('gone', 'g'));
    await shell(supervisor, `printf new > changed; touch same; rm gone; printf made > made; chmod 640 made; mkdir hollow; mkfifo pipe`);
    const listed = await list(supervisor);
    assert.deepEqual(await list(supervisor), listed, 'the second time as well');
    const { files, ...rest } = await supervisor.collect();
    const { files: headers, ...others } = listed;
    assert.deepEqual(
      headers,
      files.map(({ content, ...header }) => ({ ...header, size: content.length })),
    );
    assert.deepEqual(others, rest);
    assert.deepEqual(
      headers.map(({ path, change, mode }) => [path, change, mode]),
      [
        ['changed', 'changed', 0o644],
        ['made', 'created', 0o640],
      ],
    );
    const after = await list(supervisor);
    assert.deepEqual([after.files, after.folders, after.deleted], [[], [], []], 'a collect is a new baseline');
    assert.equal(await readFile(join(supervisor.folder, 'made'), 'utf8'), 'made');
  });

  it('a list keeps to the caps, with the same reasons', async () => {
    const profile = { filesBack: 2, fileBack: 100, bytesBack: 150 };
    await using supervisor = await (await PipedSupervisor.start()).open(profile);
    await shell(supervisor, 'for f in a b c; do head -c 90 /dev/zero > $f; done; head -c 101 /dev/zero > d; : > e; : > f');
    const listed = await list(supervisor);
    const { files, ...rest } = await supervisor.collect(profile);
    assert.deepEqual(
      listed.files.map(({ path }) => path),
      files.map(({ path }) => path),
    );
    assert.deepEqual(listed.omitted, rest.omitted);
  });
});
