import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdir, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { file, PipedSupervisor } from '../support/supervisor.ts';

const names = [
  'plain',
  'with space',
  `quo'te"`,
  'new\nline',
  'ünïcødé ☃',
  '-rf',
  'a/b/c/d',
  '\udcff\udc80raw',
  'back\\slash',
  '*?[x]',
  '.hidden',
];

describe('supervisor: files', () => {
  it('writes files of any name with their bytes, modes and time stamps to the nanosecond', async () => {
    await using supervisor = await (await PipedSupervisor.start()).open();
    const bytes = randomBytes(200_000);
    await supervisor.files(...names.map((name) => file(name, name)), file('empty', ''), file('binary', bytes, -1_500_000_001n, 0o750));
    const result = await supervisor.run(['stat', '-c', '%a %.9Y %u %s', 'empty', 'binary']);
    assert.match(result.stdout.toString(), /^644 1700000000\.123456789 \d+ 0\n750 -[12]\.\d+ \d+ 200000\n$/);
    assert.equal((await stat(join(supervisor.folder, 'binary'), { bigint: true })).mtimeNs, -1_500_000_001n);
    assert.deepEqual(await readFile(join(supervisor.folder, 'binary')), bytes);
    assert.equal(await readFile(join(supervisor.folder, 'new\nline'), 'utf8'), 'new\nline');
    assert.deepEqual(await supervisor.collect(), { files: [], folders: [], deleted: [], omitted: [], omittedCount: 0 });
  });

  it('tells created, changed and deleted, by content and not by time', async () => {
    await using supervisor = await (await PipedSupervisor.start()).open();
    await supervisor.files(file('same', 'a'), file('touched', 'b'), file('changed', 'c'), file('gone', 'd'), file('dir/gone', 'e'));
    const result = await supervisor.run([
      'sh',
      '-c',
      `touch touched; printf C > changed; rm -r gone dir; printf 'n e w' > 'new file'; touch -d @1600000000.987654321 'new file'; mkdir hollow`,
    ]);
    assert.deepEqual(result.outcome, { kind: 'exited', code: 0 });
    const { files, folders, deleted } = await supervisor.collect();
    assert.deepEqual(
      files.map(({ change, path, content }) => [change, path, content.toString()]),
      [
        ['changed', 'changed', 'C'],
        ['created', 'new file', 'n e w'],
      ],
    );
    assert.equal(files[1]?.mtimeNs, 1_600_000_000_987_654_321n);
    assert.deepEqual(
      folders.map(({ path }) => path),
      ['hollow'],
    );
    assert.deepEqual(deleted.sort(), ['dir/gone', 'gone']);
    const again = await supervisor.collect();
    assert.deepEqual([again.files, again.deleted, again.folders], [[], [], []], 'what was sent is the new baseline');
  });

  it('brings names back as they were, bytes that are no UTF-8 among them', async () => {
    await using supervisor = await (await PipedSupervisor.start()).open();
    await supervisor.files(...names.map((name) => file(name, 'x')));
    await supervisor.run(['sh', '-c', 'find . -type f -exec sh -c \'printf y >> "$1"\' _ {} \\;']);
    const { files } = await supervisor.collect();
    assert.deepEqual(files.map(({ path }) => path).sort(), [...names].sort());
    assert.ok(files.every(({ change, content }) => change === 'changed' && content.toString() === 'xy'));
  });

  it('omits files that are not plain, and follows no link', async () => {
    await using supervisor = await (await PipedSupervisor.start()).open();
    await supervisor.files(file('linked', 'mine'));
    const script = `ln -s /etc/passwd absolute; ln -s ../../../etc/shadow relative; ln -s /proc/self/fd fds; ln -s /etc dir; mkfifo fifo
      ln linked second; rm linked
      python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("sock")' 2>/dev/null || perl -MSocket -e 'socket(S,AF_UNIX,SOCK_STREAM,0); bind(S,sockaddr_un("sock"))'`;
    await supervisor.run(['sh', '-c', script]);
    const { files, omitted, deleted } = await supervisor.collect();
    assert.deepEqual(Object.fromEntries(omitted.map(({ path, reason }) => [path, reason])), {
      absolute: 'symlink',
      relative: 'symlink',
      fds: 'symlink',
      dir: 'symlink',
      fifo: 'fifo',
      sock: 'socket',
    });
    assert.deepEqual(
      files.map(({ path }) => path),
      ['second'],
    );
    assert.deepEqual(deleted, ['linked']);
  });

  it('omits a device, were there one', async function () {
    if (process.getuid?.() !== 0) return this.skip();
    await using supervisor = await (await PipedSupervisor.start()).open();
    await promisify(execFile)('mknod', [join(supervisor.folder, 'memory'), 'c', '1', '1']);
    await supervisor.run(['true']);
    assert.deepEqual((await supervisor.collect()).omitted, [{ path: 'memory', reason: 'device' }]);
  });

  it('never writes through a link that the program left', async () => {
    await using supervisor = await (await PipedSupervisor.start()).open();
    await using other = await PipedSupervisor.start();
    const outside = other.folder;
    await writeFile(join(outside, 'victim'), 'safe');
    await mkdir(join(supervisor.folder, 'd'));
    await symlink(outside, join(supervisor.folder, 'd', 'escape'));
    await symlink(join(outside, 'victim'), join(supervisor.folder, 'd', 'victim'));
    await supervisor.files(file('d/escape/victim', 'evil'), file('d/victim', 'evil'));
    await supervisor.run(['true']);
    assert.equal(await readFile(join(outside, 'victim'), 'utf8'), 'safe');
    assert.equal(await readFile(join(supervisor.folder, 'd/escape/victim'), 'utf8'), 'evil');
  });

  it('keeps to the caps on files, and lists what stayed behind', async () => {
    const profile = { filesBack: 2, fileBack: 100, bytesBack: 150 };
    await using supervisor = await (await PipedSupervisor.start()).open(profile);
    await supervisor.run(['sh', '-c', 'for f in a b c; do head -c 90 /dev/zero > $f; done; head -c 101 /dev/zero > d; : > e; : > f']);
    const { files, omitted } = await supervisor.collect(profile);
    assert.deepEqual(
      files.map(({ path }) => path),
      ['a', 'e'],
    );
    assert.deepEqual(
      omitted.map(({ path, reason }) => `${path} ${reason}`),
      ['b too_much', 'c too_much', 'd too_large', 'f too_many'],
    );
  });

  it('takes 10,000 small files and a large one', async () => {
    await using supervisor = await (await PipedSupervisor.start()).open();
    const many = Array.from({ length: 10_000 }, (_, index) => file(`d${index % 100}/f${index}`, `content ${index}`));
    await supervisor.files(...many, file('large', Buffer.alloc(100_000_000, 7)));
    const result = await supervisor.run(['sh', '-c', 'find . -type f | wc -l; stat -c %s large; echo more >> d7/f7']);
    assert.equal(result.stdout.toString().trim().replace(/\s+/g, ' '), '10001 100000000');
    assert.deepEqual(
      (await supervisor.collect()).files.map(({ path }) => path),
      ['d7/f7'],
    );
  });
});
