import assert from 'node:assert/strict';
import { chown, link, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { file, PipedSupervisor } from '../support/supervisor.ts';

/** What came back, as `change mode path content`. */
const told = ({ files }: { files: { change: string; mode: number; path: string; content: Buffer }[] }) =>
  files.map(({ change, mode, path, content }) => `${change} ${mode.toString(8)} ${path} ${content.toString()}`);

describe('supervisor: what counts as changed', () => {
  it('sends a file whose mode alone was changed, once', async () => {
    await using supervisor = await (await PipedSupervisor.start()).open();
    await supervisor.files(file('run.sh', 'a'), file('secret', 'b'), file('plain', 'c'), file('suid', 'd', 0n, 0o4755));
    await supervisor.run(['sh', '-c', 'chmod +x run.sh; chmod 0 secret; chmod 644 plain; touch plain']);
    assert.deepEqual(told(await supervisor.collect()), ['changed 755 run.sh a', 'changed 0 secret b']);
    assert.deepEqual(told(await supervisor.collect()), [], 'the new mode is the new baseline');
    await supervisor.run(['chmod', '644', 'run.sh']);
    assert.deepEqual(told(await supervisor.collect()), ['changed 644 run.sh a']);
  });

  it('tells of a folder that is new and empty, with its mode, and not of the mode of one that was there', async () => {
    await using supervisor = await (await PipedSupervisor.start()).open();
    await supervisor.files(file('given/file', 'a'));
    await supervisor.run(['sh', '-c', 'chmod 711 given; mkdir -m 750 empty; mkdir -m 700 full; echo x > full/x']);
    const changes = await supervisor.collect();
    assert.deepEqual(told(changes), ['created 644 full/x x\n']);
    assert.deepEqual(
      changes.folders.map(({ path, mode }) => `${path} ${mode.toString(8)}`),
      ['empty 750'],
    );
  });

  it('keeps the set-user bit of a given file, and tells of one that was set', async () => {
    await using supervisor = await (await PipedSupervisor.start()).open();
    await supervisor.files(file('given', 'x', 0n, 0o4755), file('set', 'y', 0n, 0o755));
    const result = await supervisor.run(['sh', '-c', 'stat -c %a given; chmod u+s set']);
    assert.equal(result.stdout.toString(), '4755\n');
    assert.deepEqual(told(await supervisor.collect()), ['changed 4755 set y']);
  });

  it('sends a file once for each of its names, within the bounds', async () => {
    await using supervisor = await (await PipedSupervisor.start()).open();
    await supervisor.files(file('given', 'old'), file('kept', 'same'));
    await supervisor.run(['sh', '-c', 'printf new > given; ln given linked; printf r > result; mkdir d; ln result d/latest; ln kept twin']);
    const changes = await supervisor.collect();
    assert.deepEqual(told(changes), [
      'created 644 d/latest r',
      'changed 644 given new',
      'created 644 linked new',
      'created 644 result r',
      'created 644 twin same',
    ]);
    assert.deepEqual(changes.omitted, []);

    const profile = { filesBack: 2, bytesBack: 100 };
    await using bounded = await (await PipedSupervisor.start()).open(profile);
    await bounded.run(['sh', '-c', 'head -c 60 /dev/zero > a; ln a b; printf x > c; ln c d']);
    const { files, omitted } = await bounded.collect(profile);
    assert.deepEqual(
      files.map(({ path }) => path),
      ['a', 'c'],
    );
    assert.deepEqual(
      omitted.map(({ path, reason }) => `${path} ${reason}`),
      ['b too_much', 'd too_many'],
    );
  });

  it('does not send a file of another user that was linked into the folder', async function () {
    if (process.getuid?.() !== 0) return this.skip();
    await using supervisor = await (await PipedSupervisor.start()).open();
    await writeFile(join(supervisor.folder, 'one'), 'the image’s', { mode: 0o600 });
    await chown(join(supervisor.folder, 'one'), 0, 0);
    await link(join(supervisor.folder, 'one'), join(supervisor.folder, 'two'));
    await supervisor.run(['true']);
    const { files, omitted } = await supervisor.collect();
    assert.deepEqual(
      [files.length, omitted],
      [
        0,
        [
          { path: 'one', reason: 'hard_link' },
          { path: 'two', reason: 'hard_link' },
        ],
      ],
    );
  });

  it('tells of emptied files, of files that became folders and of folders that became files', async () => {
    await using supervisor = await (await PipedSupervisor.start()).open();
    await supervisor.files(file('emptied', 'x'), file('file', 'x'), file('folder/inner', 'x'));
    await supervisor.run(['sh', '-c', ': > emptied; rm file; mkdir file; printf y > file/inner; rm -r folder; printf z > folder']);
    const changes = await supervisor.collect();
    assert.deepEqual(told(changes), ['changed 644 emptied ', 'created 644 file/inner y', 'created 644 folder z']);
    assert.deepEqual(changes.deleted.sort(), ['file', 'folder/inner']);
  });

  it('sends a sparse file with its length, or says that it is too large', async () => {
    await using supervisor = await (await PipedSupervisor.start()).open();
    await mkdir(join(supervisor.folder, 'd'));
    await supervisor.run(['sh', '-c', 'truncate -s 100000 small; truncate -s 200M large']);
    const { files, omitted } = await supervisor.collect();
    assert.deepEqual(
      files.map(({ path, content }) => [path, content.equals(Buffer.alloc(100_000))]),
      [['small', true]],
    );
    assert.deepEqual(omitted, [{ path: 'large', reason: 'too_large' }]);
  });
});
