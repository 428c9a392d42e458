import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { access, mkdir, mkdtemp, readdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import type { ListedFile } from '../../src/model/result.ts';
import { rootedAt } from '../../src/rsync/connections.ts';
import { OwnDaemon } from '../../src/rsync/daemon.ts';
import type { RsyncCommand } from '../../src/rsync/modules.ts';
import { Rsync } from '../../src/rsync/rsync.ts';
import { until } from '../support/until.ts';
import { RsyncGround } from '../support/rsync.ts';

const listed = (path: string, size: number): ListedFile => ({ change: 'created', path, mode: 0o644, mtimeNs: 1n, size });

/** What a client came to: the exit code of rsync, and what it said. */
interface Told {
  code: number | null;
  said: string;
}

/** A command as a sandbox would run it, with other arguments or another environment where they are given. */
async function use(
  command: RsyncCommand,
  cwd: string,
  change: { argv?: (argv: string[]) => string[]; secret?: string } = {},
): Promise<Told> {
  const [program = '', ...args] = change.argv?.(command.argv) ?? command.argv;
  const env = { ...command.env, ...(change.secret === undefined ? {} : { RSYNC_PASSWORD: change.secret }) };
  const child = spawn(program, args, { cwd, env, stdio: ['pipe', 'ignore', 'pipe'] });
  let said = '';
  child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()));
  child.stdin.on('error', () => undefined); // it need not read all of it
  child.stdin.end(command.stdin);
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, said };
}

describe('rsync: a real daemon, its modules and who may use them', function () {
  let ground: RsyncGround;
  let rsync: Rsync;
  let away: string;
  before(function () {
    if (process.getuid?.() !== 0) this.skip();
  });
  beforeEach(async () => {
    ground = await RsyncGround.make();
    rsync = new Rsync(ground.options);
    away = await mkdtemp(join(tmpdir(), 'katafleet-client-'));
  });
  afterEach(async () => {
    await rsync.close();
    await rm(away, { recursive: true, force: true });
    await ground[Symbol.asyncDispose]();
  });
  const log = () => readFile(join(ground.options.folder, 'rsyncd.log'), 'utf8');
  const logged = (what: RegExp) => until(async () => what.test(await log()));

  it('a pull brings the folder without any .git, with time stamps to the nanosecond', async () => {
    const path = await ground.source('one', { a: 'A', 'd/b': 'B', '.git/config': 'x', 'd/.git/config': 'x', 'd/.gitignore': 'kept' });
    await promisify(execFile)('touch', ['-d', '@1600000000.987654321', join(path, 'a')]);
    await using pull = await rsync.pull(path);
    assert.deepEqual(await use(pull.command, away), { code: 0, said: '' });
    assert.deepEqual((await readdir(away, { recursive: true })).sort(), ['a', 'd', 'd/.gitignore', 'd/b']);
    const { stdout } = await promisify(execFile)('stat', ['-c', '%.9Y', join(away, 'a')]);
    assert.equal(stdout.trim(), '1600000000.987654321');
    await logged(/send .* a 1\n/);
  });

  it('a folder that becomes a link once it was looked at is not left for where the link leads', async () => {
    const path = await ground.source('one/sandbox', { mine: 'A' });
    const elsewhere = join(ground.folder, 'elsewhere');
    await mkdir(join(elsewhere, 'sandbox'), { recursive: true });
    await writeFile(join(elsewhere, 'sandbox', 'secret'), 'S');
    await using pull = await rsync.pull(path);
    await rename(dirname(path), join(ground.folder, 'moved'));
    await symlink(elsewhere, dirname(path));
    assert.deepEqual(await use(pull.command, away), { code: 0, said: '' });
    assert.deepEqual(await readdir(away), ['mine']);
  });

  it('a link in the folder is not followed, wherever it leads', async () => {
    const path = await ground.source('one', { mine: 'A' });
    await mkdir(join(ground.folder, 'elsewhere'));
    await writeFile(join(ground.folder, 'elsewhere', 'secret'), 'S');
    await symlink(join(ground.folder, 'elsewhere'), join(path, 'folder'));
    await symlink('../../elsewhere/secret', join(path, 'file'));
    await using pull = await rsync.pull(path);
    const following = (words: string[]) => [...words.filter((word) => word !== '--no-links'), '--copy-links'];
    assert.notEqual((await use(pull.command, away, { argv: following })).code, 0);
    assert.deepEqual(await use(pull.command, away), { code: 0, said: '' });
    assert.deepEqual(await readdir(away), ['mine']);
  });

  it('a name that rsyncd.conf has no way to say is brought', async () => {
    await using pull = await rsync.pull(await ground.source('with %percent% \\', { a: 'A' }));
    assert.deepEqual(await use(pull.command, away), { code: 0, said: '' });
    assert.deepEqual(await readdir(away), ['a']);
  });

  it('the secret of another run is refused and logged', async () => {
    const path = await ground.source('one', { a: 'A' });
    await using mine = await rsync.pull(path);
    await using other = await rsync.pull(path);
    const secret = other.command.env['RSYNC_PASSWORD'];
    assert.ok(secret);
    const told = await use(mine.command, away, { secret });
    assert.equal(told.code, 5);
    await logged(/auth failed on module kf-[0-9a-f]{32} from .* password mismatch/);
    assert.deepEqual(await readdir(away), []);
    // The other's user and secret on this module: nobody by that name may.
    const argv = (words: string[]) =>
      words.map((word) => (word.startsWith('rsync://') ? word.replace(/\/\/\w+@/, `//${userOf(other.command)}@`) : word));
    assert.equal((await use(mine.command, away, { argv, secret })).code, 5);
    await logged(/auth failed on module kf-[0-9a-f]{32} from .* unauthorized user|no matching rule/);
  });

  it('a secret after the end of its transfer is refused and logged, and nothing of it is left', async () => {
    const path = await ground.source('one', { a: 'A' });
    const pull = await rsync.pull(path);
    assert.equal((await readdir(join(ground.options.folder, 'secrets'))).length, 1);
    await pull[Symbol.asyncDispose]();
    const told = await use(pull.command, away);
    assert.equal(told.code, 5);
    await logged(/unknown module 'kf-[0-9a-f]{32}' tried from/);
    assert.deepEqual(await readdir(join(ground.options.folder, 'secrets')), []);
    assert.ok(!(await readFile(join(ground.options.folder, 'rsyncd.conf'), 'utf8')).includes('kf-'));
  });

  it('writing to a pull module is refused and logged', async () => {
    const path = await ground.source('one', { a: 'A' });
    await writeFile(join(away, 'evil'), 'evil');
    await using pull = await rsync.pull(path);
    const argv = (words: string[]) => [...words.slice(0, -2).filter((word) => !word.startsWith('rsync://')), './', urlOf(pull.command)];
    assert.notEqual((await use(pull.command, away, { argv })).code, 0);
    await logged(/ERROR: module is read only/);
    assert.deepEqual(await readdir(path), ['a']);
  });

  it('a drop takes what was listed, can’t be read, and is gone afterwards', async () => {
    for (const [name, content] of [
      ['-odd name', 'x'],
      ['new\nline', 'yy'],
      ['unasked', 'zzz'],
    ] as const) {
      await writeFile(join(away, name), content);
    }
    const drop = await rsync.drop([listed('-odd name', 1), listed('new\nline', 2)]);
    assert.equal((await use(drop.command, away)).code, 0);
    const back = await mkdtemp(join(tmpdir(), 'katafleet-client-'));
    const reading = (words: string[]) => [
      ...words.filter((word) => !/^(rsync:|--files-from|--from0|--no-implied|\.\/)/.test(word)),
      urlOf(drop.command),
      './',
    ];
    assert.notEqual((await use(drop.command, back, { argv: reading })).code, 0);
    assert.deepEqual(await readdir(back), []);
    await rm(back, { recursive: true });
    const files = await drop.take();
    assert.deepEqual(
      files?.map(({ path, content }) => [path, content.toString()]),
      [
        ['-odd name', 'x'],
        ['new\nline', 'yy'],
      ],
    );
    assert.equal((await use(drop.command, away)).code, 5, 'no more after it was taken');
    await drop[Symbol.asyncDispose]();
    assert.deepEqual(await readdir(join(ground.options.folder, 'drops')), []);
  });

  for (const option of [
    '--delete',
    '--links',
    '--inplace',
    '--devices',
    '--partial-dir=/x',
    '--temp-dir=/x',
    '--backup',
    '--remove-source-files',
    '--recursive',
  ]) {
    it(`${option} is refused on a drop`, async () => {
      await writeFile(join(away, 'f'), 'x');
      await using drop = await rsync.drop([listed('f', 1)]);
      const argv = (words: string[]) => [
        words[0] ?? '',
        option,
        ...words.slice(1).filter((word) => word !== option.replace('--', '--no-')),
      ];
      assert.notEqual((await use(drop.command, away, { argv })).code, 0);
      await logged(/configured to refuse|refuse/);
      assert.equal(await drop.take(), undefined);
    });
  }

  it('lists no module', async () => {
    await using pull = await rsync.pull(await ground.source('one', { a: 'A' }));
    const { host, port } = ground.options.listen;
    const { stdout } = await promisify(execFile)('rsync', [`rsync://${host}:${port}/`]);
    assert.equal(stdout, '');
    assert.ok(pull.command.argv.some((word) => word.includes('/kf-')));
  });

  it('refuses a host that is not in hostsAllow', async () => {
    const elsewhere = new Rsync({ ...ground.options, hostsAllow: ['192.0.2.0/24'] });
    try {
      await using pull = await elsewhere.pull(await ground.source('one', { a: 'A' }));
      assert.equal((await use(pull.command, away)).code, 5);
      await logged(/rsync denied on module kf-/);
    } finally {
      await elsewhere.close();
    }
  });

  it('a sandbox that sends more than it listed is cut off, and what came is not used', async () => {
    await writeFile(join(away, 'f'), Buffer.alloc(1_000));
    const endless = spawn('sh', ['-c', 'while :; do head -c 4000000 /dev/zero >> f || exit; done'], { cwd: away });
    try {
      await using drop = await rsync.drop([listed('f', 1_000)]);
      // The list says 1,000 bytes; what is sent grows with each of these.
      const pushes = async () => {
        for (;;) {
          const { code } = await use(drop.command, away);
          if (code !== 0) return code;
        }
      };
      await pushes();
      await until(() => ground.troubles.some((text) => text.includes('more than it had listed')));
      assert.equal(await drop.take(), undefined);
    } finally {
      endless.kill('SIGKILL');
      await once(endless, 'close');
    }
  });

  it('ends a connection that is still open when the drop is taken', async () => {
    await using drop = await rsync.drop([listed('f', 1)]);
    // A client that never says which files: the daemon's process waits in the drop.
    const [program = '', ...args] = drop.command.argv;
    const client = spawn(program, args, { cwd: away, env: drop.command.env, stdio: ['pipe', 'ignore', 'ignore'] });
    const gone = once(client, 'close');
    const folder = join(ground.options.folder, 'drops', moduleOf(drop.command));
    await until(async () => (await rootedAt(folder)).length > 0);
    assert.equal(await drop.take(), undefined);
    assert.deepEqual(await rootedAt(folder), []);
    client.kill('SIGKILL');
    await gone;
  });

  it('is started again when it dies, and serves what it served', async () => {
    const daemon = new OwnDaemon(ground.options);
    const own = new Rsync(ground.options, daemon);
    try {
      await using pull = await own.pull(await ground.source('one', { a: 'A' }));
      for (let round = 0; round < 3; round += 1) {
        const { pid } = daemon;
        assert.ok(pid);
        process.kill(pid, 'SIGKILL');
        await until(() => daemon.pid !== pid && daemon.pid !== undefined);
        await own.ready();
        assert.equal((await use(pull.command, away)).code, 0);
      }
      assert.ok(ground.troubles.some((text) => /the rsync daemon ended \(SIGKILL\)/.test(text)));
    } finally {
      await own.close();
    }
    await assert.rejects(once(connect(ground.options.listen), 'connect'), { code: 'ECONNREFUSED' }, 'closed, it is gone');
  });

  it('one that a killed katafleet left is ended, with its modules', async () => {
    const { folder, listen } = ground.options;
    const file = join(folder, 'rsyncd.conf');
    await new OwnDaemon(ground.options).publish(['[kf-left]\n  path = /\n']);
    const words = ['--daemon', '--no-detach', `--config=${file}`, `--address=${listen.host}`, `--port=${listen.port}`];
    const left = spawn('rsync', words, { stdio: 'ignore' });
    const gone = once(left, 'close');
    await until(async () => (await readFile(join(folder, 'rsyncd.pid'), 'utf8').catch(() => '')).trim() === String(left.pid));
    await rsync.ready(); // another katafleet, same folder, same port
    assert.deepEqual(await gone, [null, 'SIGKILL']);
    assert.equal((await readFile(file, 'utf8')).includes('kf-left'), false);
  });

  it('a version below the security fixes is refused with the reason, unless it is named', async () => {
    const old = join(away, 'rsync');
    await writeFile(
      old,
      `#!/bin/sh\nif [ "$1" = --version ]; then echo 'rsync  version 3.2.7  protocol version 31'; else exec rsync "$@"; fi\n`,
      { mode: 0o755 },
    );
    const path = await ground.source('one', { a: 'A' });
    await assert.rejects(new Rsync({ ...ground.options, program: old }).check(path), {
      code: 'rsync.daemon',
      message: /rsync 3\.2\.7 is refused/,
    });
    const accepted = new Rsync({ ...ground.options, program: old, accept: ['3.2.7'] });
    await accepted.check(path);
    await accepted.close();
    await assert.rejects(new Rsync({ ...ground.options, program: join(away, 'absent') }).check(path), {
      code: 'rsync.daemon',
      message: /ENOENT/,
    });
  });

  it('a folder of its own that rsyncd.conf has no way to say is told', async () => {
    const odd = new Rsync({ ...ground.options, folder: join(ground.folder, '100%') });
    try {
      await assert.rejects(odd.ready(), { code: 'rsync.daemon', message: /rsync\.folder .* cannot express/ });
    } finally {
      await odd.close();
    }
  });

  it('a port that another has is told', async () => {
    await rsync.ready();
    const second = new Rsync({ ...ground.options, folder: join(ground.folder, 'second') });
    await assert.rejects(second.ready(), { code: 'rsync.daemon' });
    await second.close();
  });

  it('the machine’s daemon serves the modules that its rsyncd.conf includes', async () => {
    const machine = { ...ground.options, daemon: 'machine' as const, folder: join(ground.folder, 'modules') };
    const served = new Rsync(machine);
    const conf = join(ground.folder, 'rsyncd.conf');
    await writeFile(conf, `list = no\n[katas]\n  path = ${ground.folder}\n&include ${machine.folder}/modules.conf\n`);
    // As scripts/rsync-setup leaves it: the file is there before the daemon is.
    await promisify(execFile)('mkdir', ['-p', '-m', '700', machine.folder]);
    await writeFile(join(machine.folder, 'modules.conf'), '');
    const child = spawn('rsync', ['--daemon', '--no-detach', `--config=${conf}`, '--address=127.0.0.1', `--port=${machine.listen.port}`], {
      stdio: 'ignore',
    });
    try {
      await using pull = await served.pull(await ground.source('one', { a: 'A' }));
      assert.equal((await use(pull.command, away)).code, 0);
      await pull[Symbol.asyncDispose]();
      assert.equal((await use(pull.command, away)).code, 5);
      await access(join(machine.folder, 'modules.conf'));
    } finally {
      await served.close();
      child.kill('SIGKILL');
      await once(child, 'close');
    }
  });
});

const urlOf = ({ argv }: RsyncCommand) => argv.find((word) => word.startsWith('rsync://')) ?? '';
const moduleOf = (command: RsyncCommand) => /(kf-[0-9a-f]{32})/.exec(urlOf(command))?.[1] ?? '';
const userOf = (command: RsyncCommand) => /\/\/(\w+)@/.exec(urlOf(command))?.[1] ?? '';
