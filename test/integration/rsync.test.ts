import assert from 'node:assert/strict';
import { mkdir, readdir, readFile, symlink, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import Dockerode from 'dockerode';
import { readFolder } from '../../src/cli/files/folder.ts';
import type { Changes, Katafleet, RunRequest, RunResult } from '../../src/app/library.ts';
import { rootedAt } from '../../src/rsync/connections.ts';
import { endpoint, stderr, stdout, testFleet } from '../support/fleet.ts';
import { until } from '../support/until.ts';
import { RsyncGround } from '../support/rsync.ts';
import { importScratch, scratchImage } from '../support/scratch.ts';

/** Their order is not part of a result. */
const sorted = ({ files, folders, deleted, omitted, omittedCount }: Changes) => ({
  files: files.toSorted((a, b) => (a.path < b.path ? -1 : 1)),
  folders: folders.toSorted((a, b) => (a.path < b.path ? -1 : 1)),
  deleted: deleted.toSorted(),
  omitted: omitted.toSorted((a, b) => (a.path < b.path ? -1 : 1)),
  omittedCount,
});

describe('rsync as a transfer, in real containers', function () {
  let ground: RsyncGround;
  let fleet: Katafleet;
  before(async function () {
    if (process.getuid?.() !== 0) this.skip();
    ground = await RsyncGround.make();
    fleet = ground.fleet();
    await fleet.open();
  });
  beforeEach(() => ground.troubles.splice(0));
  /** No run leaves a module, a secret or a file. */
  afterEach(async () => {
    const { folder } = ground.options;
    if (!(await readdir(folder).catch((): string[] => [])).includes('drops')) return;
    assert.deepEqual(await readdir(join(folder, 'drops')), []);
    assert.deepEqual(await readdir(join(folder, 'secrets')), []);
    assert.ok(!(await readFile(join(folder, 'rsyncd.conf'), 'utf8')).includes('kf-'));
  });
  after(async () => {
    await fleet?.close();
    await ground?.[Symbol.asyncDispose]();
  });
  const request = (path: string, script: string, more: Partial<RunRequest> = {}): RunRequest => ({
    image: 'build-essential',
    files: [],
    rsync: { path },
    steps: [{ argv: ['bash', '-c', script] }],
    ...more,
  });
  /** The same by rsync and by the stream. */
  const bothWays = async (path: string, script: string, more: Partial<RunRequest> = {}): Promise<[RunResult, RunResult]> => {
    const { files, folders } = await readFolder(path);
    const byRsync = request(path, script, more);
    const { rsync: _, ...without } = byRsync;
    const result = await fleet.run(byRsync);
    return [result, await fleet.run({ ...without, files, folders })];
  };

  const names = ['sp ace', `q"'`, 'new\nline', 'ünï☃', '-rf', 'a/b/c/d/e', '\udcff', '[x]*?', '#hash', '.hidden', 'b/-leading', 'Case'];

  it('a run by rsync ends as one by the stream does: names, contents, modes, time stamps to the nanosecond', async () => {
    const path = await ground.source('names', Object.fromEntries(names.map((name) => [name, 'bin\0ary\xff'])));
    const script = `find . -type f -printf '%p %m %s %T@\\n' | sort
      find . -type f -print0 | xargs -0 -n 1 sh -c 'printf y >> "$1"; touch -d @1500000000.123456789 "$1"' _
      printf x > made; chmod 4751 made; touch -d @-5.5 made`;
    const [result, expected] = await bothWays(path, script);
    assert.deepEqual(result.outcome, { kind: 'exited', code: 0 }, stderr(result));
    assert.equal(stdout(result), stdout(expected));
    assert.deepEqual(sorted(result.changes), sorted(expected.changes));
    assert.deepEqual(result.changes.files.map(({ path: file }) => file).sort(), [...names, 'made'].sort());
    assert.ok(result.changes.files.every(({ path: file, mtimeNs }) => file === 'made' || mtimeNs === 1_500_000_000_123_456_789n));
    assert.deepEqual(ground.troubles, []);
  });

  it('a rename of case only, a folder in place of a file and back, an empty folder, what is touched and not changed', async () => {
    const path = await ground.source('shapes', {
      lower: 'l',
      file: 'f',
      'folder/inside': 'i',
      touched: 't',
      'hollow/': '',
      'filled/': '',
      gone: 'g',
    });
    const script = `mv lower Lower; rm file; mkdir file; printf n > file/now; touch -d @1500000000 file/now Lower
      rm -r folder; printf n > folder; touch -d @1500000000 folder; touch touched; rmdir hollow; printf n > filled/n; touch -d @1500000000 filled/n
      rm gone; mkdir -m 750 -p new/hollow; touch -d @1500000000 new/hollow`;
    const [result, expected] = await bothWays(path, script);
    assert.deepEqual(sorted(result.changes), sorted(expected.changes));
    assert.deepEqual(result.changes.deleted.toSorted(), ['file', 'folder/inside', 'gone', 'hollow', 'lower']);
    assert.deepEqual(result.changes.files.map(({ path: file }) => file).sort(), ['Lower', 'file/now', 'filled/n', 'folder']);
  });

  it('links, pipes, files over the caps and a .git of the program’s own: as by the stream', async () => {
    const path = await ground.source('hostile', { a: 'a', '.git/config': 'the repository’s own' });
    const script = `test ! -e .git || exit 9
      mkdir -p .git d; printf evil > .git/config; touch -d @1500000000 .git/config; ln -s /etc/passwd link; ln -s / d/root; mkfifo pipe
      printf x > one; ln one two; touch -d @1500000000 one; head -c 101M /dev/zero > huge; rm a; ln -s /etc/shadow a`;
    const { files } = await readFolder(path);
    const given = files.filter((file) => !file.path.startsWith('.git/'));
    const by = request(path, script);
    const result = await fleet.run(by);
    const { rsync: _, ...without } = by;
    const expected = await fleet.run({ ...without, files: given });
    assert.deepEqual(result.outcome, { kind: 'exited', code: 0 });
    assert.deepEqual(sorted(result.changes), sorted(expected.changes));
    assert.deepEqual(Object.fromEntries(result.changes.omitted.map(({ path: file, reason }) => [file, reason])), {
      a: 'symlink',
      'd/root': 'symlink',
      link: 'symlink',
      pipe: 'fifo',
      huge: 'too_large',
    });
    assert.equal(await readFile(join(path, '.git/config'), 'utf8'), 'the repository’s own', 'nothing is written to the source');
  });

  it('returns files that their owner may not read', async () => {
    const path = await ground.source('unreadable', { a: 'a' });
    const script = 'printf secret > none; printf x > some; mkdir d; printf in > d/f; touch -d @1500000000 none some d/f; chmod 0 none d';
    const [result, expected] = await bothWays(path, script);
    assert.deepEqual(sorted(result.changes), sorted(expected.changes));
    assert.deepEqual(result.changes.files.map(({ path: file }) => file).sort(), ['d/f', 'none', 'some']);
    assert.match(ground.troubles.join('\n'), /came without rsync: rsync exited with 23/);
  });

  it('the program has no network, no privilege, and finds the secret nowhere', async () => {
    const path = await ground.source('secret', { a: 'a' });
    const { port } = ground.options.listen;
    const script = `grep -h Cap /proc/self/status; cat /proc/net/dev | tail -n +3 | cut -d: -f1
      for host in 127.0.0.1 172.17.0.1 ::1; do (echo > /dev/tcp/$host/${port}) 2>/dev/null && echo REACHED; done
      unshare -n true 2>/dev/null && echo UNSHARED; nsenter -t 1 -n true 2>/dev/null && echo ENTERED
      env | grep -i '[r]sync'; for f in /proc/[0-9]*/environ /proc/[0-9]*/cmdline; do tr '\\0' '\\n' < $f; done 2>/dev/null | grep -E '[R]SYNC_|[r]sync://|[k]f-'
      grep -rlE '[R]SYNC_PASSWORD=|[r]sync://[0-9a-f]' /sandbox /tmp /dev/shm /run /var /etc 2>/dev/null; ls -A /tmp; rsync --version | head -1 | cut -c1-5`;
    const result = await fleet.run(request(path, script));
    const lines = stdout(result).trim().split('\n');
    assert.deepEqual(
      lines.filter((line) => line.startsWith('Cap')).map((line) => line.split(/\s+/)[1]),
      Array.from({ length: 5 }, () => '0'.repeat(16)),
    );
    assert.deepEqual(
      lines.filter((line) => !line.startsWith('Cap')).map((line) => line.trim()),
      ['lo', 'rsync'],
      stdout(result),
    );
  });

  it('the program can’t have a hand in what is sent back', async () => {
    const path = await ground.source('hand', { a: 'a' });
    // What rsync, its option parser and the linker would read, were they let; and somebody who stays behind.
    const script = `export HOME=/tmp; for home in /tmp /sandbox /home/sandbox; do printf 'rsync alias --whole-file --copy-links --delete\\n' > $home/.popt; done 2>/dev/null
      printf '#!/bin/sh\\necho STOLEN $RSYNC_PASSWORD > /sandbox/stolen\\n' > rsync; chmod 755 rsync; cp rsync /tmp/rsync; cp rsync /usr/bin/rsync 2>/dev/null && echo REPLACED
      printf -- '- *' > .rsync-filter; printf x > result
      (setsid sh -c 'while :; do for p in /proc/[0-9]*; do tr "\\0" "\\n" < $p/environ | grep RSYNC_PASSWORD >> /sandbox/stolen; done; printf late >> result; done' >/dev/null 2>&1 &)
      sleep 0.1`;
    const result = await fleet.run(request(path, script));
    assert.equal(stdout(result), '');
    const came = Object.fromEntries(result.changes.files.map((file) => [file.path, file.content.toString()]));
    assert.deepEqual(Object.keys(came).sort(), ['.popt', '.rsync-filter', 'result', 'rsync', ...('stolen' in came ? ['stolen'] : [])]);
    assert.equal(came['stolen'] ?? '', '');
    assert.match(came['result'] ?? '', /^x(late)*$/);
    assert.deepEqual(ground.troubles, []);
  });

  it('several steps, one that is cancelled, and one that prints before its time is over', async () => {
    const path = await ground.source('steps', { a: 'a' });
    const steps = await fleet.run(
      request(path, '', { steps: [{ argv: ['sh', '-c', 'printf 1 > one'] }, { argv: ['sh', '-c', 'cat one; printf 2 > two'] }] }),
    );
    assert.deepEqual([stdout(steps), steps.changes.files.map((file) => file.path).sort()], ['1', ['one', 'two']]);
    const late = await fleet.run(request(path, 'printf before; printf x > made; sleep 60', { profile: { wallMs: 3_000 } }));
    assert.deepEqual(late.outcome, { kind: 'timed_out', clock: 'wall' });
    assert.deepEqual([stdout(late), late.changes.files.map((file) => file.path)], ['before', ['made']]);
    const cancel = new AbortController();
    const cancelled = await fleet.run(request(path, 'printf x > made; echo here; sleep 60'), {
      signal: cancel.signal,
      onOutput: () => cancel.abort(),
    });
    assert.deepEqual([cancelled.outcome.kind, cancelled.changes.files.map((file) => file.path)], ['cancelled', ['made']]);
    const quiet = await fleet.run(request(path, 'printf x > made', { collect: false }));
    assert.deepEqual(quiet.changes.files, []);
  });

  it('a source that does not fit, or is none, is the caller’s fault', async () => {
    const path = await ground.source('large', { huge: '' });
    await truncate(join(path, 'huge'), 100 * 1024 * 1024);
    await assert.rejects(fleet.run(request(path, 'true', { profile: { memory: 64 * 1024 * 1024 } })), { code: 'files.no_space' });
    await assert.rejects(fleet.run(request('/etc', 'true')), { code: 'rsync.source' });
    await symlink('/etc', join(ground.folder, 'katas', 'etc'));
    await assert.rejects(fleet.run(request(join(ground.folder, 'katas/etc'), 'true')), { code: 'rsync.source', message: /symbolic link/ });
    const both = { ...request(path, 'true'), files: [{ path: 'a', mode: 0o644, mtimeNs: 0n, content: Buffer.from('') }] };
    await assert.rejects(fleet.run(both), { code: 'request.invalid' });
  });

  it('where rsync is off a run that asks for it is refused; so is an image without rsync', async () => {
    const path = await ground.source('off', { a: 'a' });
    await using without = testFleet();
    await assert.rejects(without.run(request(path, 'true')), { code: 'rsync.off' });
    await importScratch(new Dockerode({ socketPath: endpoint.replace('unix://', ''), host: undefined }));
    await fleet.fleet.refreshImages();
    await assert.rejects(fleet.run(request(path, '', { image: scratchImage, steps: [{ argv: ['/program'] }] })), {
      code: 'rsync.image',
      message: /has no rsync/,
    });
  });

  it('sandboxes of runs without a source have no network, and none of them serves one with', async () => {
    await fleet.warm('build-essential', 1);
    const docker = new Dockerode({ socketPath: endpoint.replace('unix://', ''), host: undefined });
    const modes = async () => {
      const owned = await fleet.driver.list();
      const found = await Promise.all(owned.map(({ id }) => docker.getContainer(id).inspect()));
      return found.map(({ HostConfig }): [string | undefined, boolean] => [
        HostConfig.NetworkMode,
        String(HostConfig.CapAdd).includes('SYS_ADMIN'),
      ]);
    };
    assert.ok((await modes()).some(([mode, admin]) => mode === 'none' && !admin));
    const result = await fleet.run(request(await ground.source('pools', { a: 'a' }), 'true'));
    assert.equal(result.warm, false);
    await fleet.warm('build-essential', 0);
  });

  it('the daemon killed in the middle of a pull: the run is tried again', async () => {
    const path = await ground.source('killed', { huge: '' });
    await mkdir(join(path, 'd'));
    await truncate(join(path, 'huge'), 400 * 1024 * 1024);
    const running = fleet.run(request(path, 'stat -c %s huge; printf x > made', { profile: { memory: 1024 * 1024 * 1024 } }));
    let serving: number[] = [];
    await until(async () => (serving = await rootedAt(path)).length > 0);
    const daemon = Number(await readFile(join(ground.options.folder, 'rsyncd.pid'), 'utf8'));
    for (const pid of [daemon, ...serving]) process.kill(pid, 'SIGKILL');
    const result = await running;
    assert.deepEqual([result.attempt, stdout(result)], [2, `${400 * 1024 * 1024}\n`]);
    assert.deepEqual(
      result.changes.files.map((file) => file.path),
      ['made'],
    );
    assert.match(ground.troubles.join('\n'), /the rsync daemon ended \(SIGKILL\)/);
  });

  it('the daemon killed in the middle of a push: what changed comes without it', async () => {
    const path = await ground.source('push', { a: 'a' });
    const script = 'head -c 400000000 /dev/zero > large; printf x > made';
    const profile = { memory: 1024 * 1024 * 1024, fileSize: 1024 ** 3, fileBack: 1024 ** 3, bytesBack: 1024 ** 3 };
    const running = fleet.run(request(path, script, { profile }));
    const drops = join(ground.options.folder, 'drops');
    let serving: number[] = [];
    await until(async () => {
      const [drop] = await readdir(drops);
      serving = drop === undefined ? [] : await rootedAt(join(drops, drop));
      return serving.length > 0;
    });
    const daemon = Number(await readFile(join(ground.options.folder, 'rsyncd.pid'), 'utf8'));
    for (const pid of [daemon, ...serving]) process.kill(pid, 'SIGKILL');
    const result = await running;
    assert.equal(result.attempt, 1);
    assert.deepEqual(
      result.changes.files.map(({ path: file, content }) => [file, content.length]),
      [
        ['large', 400_000_000],
        ['made', 1],
      ],
    );
    assert.match(ground.troubles.join('\n'), /came without rsync/);
  });

  it('few changes come back on the stream', async () => {
    await using other = await RsyncGround.make();
    await using sparing = testFleet({ rsync: { ...other.options, pushFrom: 1_000 } });
    const path = await other.source('few', { a: 'a' });
    const few = await sparing.run(request(path, 'printf x > made; rm a'));
    const many = await sparing.run(request(path, 'head -c 1000 /dev/zero > large; rm a'));
    assert.deepEqual([few.changes.files.map((file) => file.path), few.changes.deleted], [['made'], ['a']]);
    assert.deepEqual([many.changes.files.map((file) => file.path), many.changes.deleted], [['large'], ['a']]);
    const log = await readFile(join(other.options.folder, 'rsyncd.log'), 'utf8');
    assert.deepEqual(
      Array.from(log.matchAll(/ recv .* (\w+) \d+$/gm), ([, name]) => name),
      ['large'],
    );
  });

  it('twenty at once', async () => {
    const path = await ground.source(
      'many',
      Object.fromEntries(Array.from({ length: 50 }, (_, index) => [`d${index % 5}/f${index}`, `content ${index}`])),
    );
    const results = await Promise.all(
      Array.from({ length: 20 }, (_, index) =>
        fleet.run(request(path, `printf ${index} > d0/f0; find . -type f | wc -l`, { profile: { memory: 64 * 1024 * 1024 } })),
      ),
    );
    for (const [index, result] of results.entries()) {
      assert.deepEqual(
        [stdout(result), result.changes.files.map(({ path: file, content }) => [file, content.toString()])],
        ['50\n', [['d0/f0', String(index)]]],
      );
    }
  });
});
