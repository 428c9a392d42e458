import assert from 'node:assert/strict';
import { compileGlobs, globsFit } from '../../src/model/glob.ts';
import { encodeFrame, hostFrame } from '../../src/protocol/frames.ts';
import { encodeBack } from '../../src/protocol/requests.ts';
import { file, PipedSupervisor } from '../support/supervisor.ts';

const names = [
  'results.xml',
  'd/results.xml',
  'node_modules/a',
  'node_modules/b/c',
  'é',
  'x\udcffy',
  '😀.txt',
  'ab',
  'a*b',
  'new\nline',
  'out/deep/er',
];
const paths = ({ files }: { files: { path: string }[] }) => files.map(({ path }) => path).sort();

describe('supervisor: what shall come back', () => {
  it('is what one of the globs fits, as the host understands them', async () => {
    await using supervisor = await (await PipedSupervisor.start()).open();
    await supervisor.files(...names.map((name) => file(name, 'x')));
    await supervisor.run(['true']);
    for (const globs of [
      ['*.xml'],
      ['node_modules/'],
      ['?'],
      ['x?y'],
      ['[é😀]*'],
      ['a\\*b', '**/er'],
      ['{ab,new*}'],
      ['[!a-z]*.txt'],
      ['d/**'],
    ]) {
      const program = compileGlobs(globs);
      await supervisor.conversation.queue(encodeBack(program));
      await supervisor.run(['sh', '-c', 'find . -type f -exec sh -c \'printf y >> "$1"\' _ {} \\;']);
      assert.deepEqual(paths(await supervisor.collect()), names.filter((name) => globsFit(program, name)).sort(), globs.join(' '));
    }
    await supervisor.conversation.queue(encodeBack([]));
    await supervisor.run(['sh', '-c', 'printf y >> ab']);
    assert.ok(paths(await supervisor.collect()).includes('ab'), 'an empty program wants all');
  });

  it('is not displaced by unwanted files, and lists nothing else', async () => {
    const profile = { filesBack: 1, bytesBack: 10 };
    await using supervisor = await (await PipedSupervisor.start()).open(profile);
    await supervisor.files(file('gone', 'x'), file('gone.xml', 'x'));
    await supervisor.conversation.queue(encodeBack(compileGlobs(['*.xml'])));
    await supervisor.run([
      'sh',
      '-c',
      'mkdir a empty; for i in 1 2 3; do head -c 100 /dev/zero > a/$i; done; ln -s x link; printf r > r.xml; rm gone gone.xml',
    ]);
    const changes = await supervisor.collect(profile);
    assert.deepEqual(
      [paths(changes), changes.folders, changes.deleted, changes.omitted, changes.omittedCount],
      [['r.xml'], [], ['gone.xml'], [], 0],
    );
  });

  it('is refused where it is no program', async () => {
    for (const bytes of [
      [0],
      [0, 1],
      [0, 1, 9, 0, 0, 0, 0, 0, 0, 0, 0],
      [0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0],
      [0, 1, 3, 0, 0, 0, 1, 0, 0, 0, 0],
    ]) {
      await using supervisor = await (await PipedSupervisor.start()).open();
      await supervisor.conversation.send(encodeFrame(hostFrame.back, Buffer.from(bytes)));
      assert.equal((await supervisor.conversation.next()).kind, 'fail');
    }
  });
});
