import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Said, said } from '../support/said.ts';
import { copyScripts, setUp as setUpOn } from '../support/node-setup.ts';
import { Testbed } from '../support/testbed.ts';

const script = fileURLToPath(new URL('../../scripts/rsync-setup', import.meta.url));
const lines = (output: string, mark: string) => output.split('\n').filter((line) => line.startsWith(`${mark} `));

describe('rsync-setup, below a folder', () => {
  let root: string;
  const setUp = (...words: string[]) => said(script, ['--root', root, '--address', '172.17.0.1/16', ...words]);
  const text = (path: string) => readFileSync(join(root, path), 'utf8');
  /** Every file with its mode and content. */
  const all = () =>
    Object.fromEntries(
      readdirSync(root, { recursive: true, encoding: 'utf8' })
        .filter((path) => statSync(join(root, path)).isFile())
        .map((path) => [path, `${statSync(join(root, path)).mode.toString(8)} ${text(path)}`]),
    );
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'katafleet-root-'));
    mkdirSync(join(root, 'etc/default'), { recursive: true });
    mkdirSync(join(root, 'etc/logrotate.d'));
    writeFileSync(join(root, 'etc/default/rsync'), "# the package's\nRSYNC_ENABLE=false\nRSYNC_NICE='10'\n");
  });
  afterEach(() => rmSync(root, { recursive: true }));

  it('writes the configuration of the notes, the secret for root alone, and what enables the daemon', () => {
    assert.equal(setUp('--katas', '/srv/the katas', '--user', 'reader').code, 0);
    const conf = text('etc/rsyncd.conf');
    for (const line of [
      'address = 172.17.0.1',
      '[katas]',
      '  path = /srv/the katas',
      '  uid = www-data',
      '  read only = yes',
      '  list = no',
    ]) {
      assert.ok(conf.includes(`${line}\n`), line);
    }
    for (const line of [
      '  auth users = reader',
      '  secrets file = /etc/rsyncd.secrets',
      '  hosts allow = 172.17.0.0/16 127.0.0.1',
      '  hosts deny = *',
      'log file = /var/log/rsyncd.log',
    ]) {
      assert.ok(conf.includes(`${line}\n`), line);
    }
    assert.match(text('etc/rsyncd.secrets'), /^reader:[0-9a-f]{48}\n$/);
    assert.equal(statSync(join(root, 'etc/rsyncd.secrets')).mode & 0o777, 0o600);
    const defaults = text('etc/default/rsync');
    assert.match(defaults, /^RSYNC_ENABLE=true$/m);
    assert.match(defaults, /^RSYNC_NICE='10'$/m);
    assert.doesNotMatch(defaults, /RSYNC_ENABLE=false/);
    assert.equal(said('sh', ['-ec', `. "$0"; test "$RSYNC_ENABLE" = true`, join(root, 'etc/default/rsync')]).code, 0);
    assert.match(text('etc/systemd/system/rsync.service.d/katafleet.conf'), /^After=docker.service$/m);
  });

  it('a second time changes nothing, a dry run nothing at all, and undo all of it', () => {
    const before = all();
    const dry = setUp('--dry-run');
    assert.equal(dry.code, 0);
    assert.ok(lines(dry.stdout, '?').length >= 5);
    assert.deepEqual(all(), before);
    assert.equal(setUp('--modules', '/var/lib/katafleet/rsync').code, 0);
    const made = all();
    assert.equal(made['var/lib/katafleet/rsync/modules.conf'], '100600 ');
    assert.ok(text('etc/rsyncd.conf').endsWith('\n&include /var/lib/katafleet/rsync/modules.conf\n'));
    const again = setUp('--modules', '/var/lib/katafleet/rsync');
    assert.deepEqual([again.code, lines(again.stdout, '+')], [0, []]);
    assert.deepEqual(all(), made);
    assert.equal(setUp('--undo').code, 0);
    assert.deepEqual(all(), before);
  });

  it('keeps secrets that are there, and an rsyncd.conf that is not its own', () => {
    writeFileSync(join(root, 'etc/rsyncd.secrets'), 'other:word\n', { mode: 0o644 });
    writeFileSync(join(root, 'etc/rsyncd.conf'), '[backup]\n  path = /\n');
    const refused = setUp();
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /not this script's: --replace/);
    assert.equal(setUp('--replace').code, 0);
    assert.match(text('etc/rsyncd.secrets'), /^other:word\ncyber-dojo:[0-9a-f]{48}\n$/);
    assert.equal(statSync(join(root, 'etc/rsyncd.secrets')).mode & 0o777, 0o600);
    assert.equal(text('etc/rsyncd.conf.before-katafleet'), '[backup]\n  path = /\n');
    assert.equal(setUp('--undo').code, 0);
    assert.equal(text('etc/rsyncd.conf'), '[backup]\n  path = /\n');
    assert.equal(text('etc/rsyncd.secrets'), 'other:word\n');
  });

  for (const [what, words] of [
    ['a folder that is none', ['--katas', 'relative']],
    ['a folder with a variable of rsyncd.conf in it', ['--katas', '/a%HOME%']],
    ['a folder with a newline', ['--katas', '/a\npath = /']],
    ['a user who would be two', ['--user', 'a,b']],
    ['an address without a length', ['--address', '172.17.0.1']],
    ['half of the world', ['--address', '172.17.0.1/1']],
    ['an address that is none', ['--address', '300.1.1.1/16']],
    ['an unknown option', ['--unknown']],
    ['an option without its value', ['--katas']],
  ] as const) {
    it(`refuses ${what}`, () => {
      const before = all();
      const { code, stderr } = setUp(...words);
      assert.notEqual(code, 0);
      assert.match(stderr, /^rsync-setup: /);
      assert.deepEqual(all(), before);
    });
  }

  it('refuses an rsync with known holes, unless its version is named', () => {
    const bin = mkdtempSync(join(tmpdir(), 'katafleet-bin-'));
    try {
      const old = readFileSync(script, 'utf8')
        .replace(/^PATH=/m, `PATH=${bin}:`)
        .replace('here=$(cd -- "$(dirname -- "$0")" && pwd -P)', `here='${join(script, '..')}'`);
      writeFileSync(join(bin, 'rsync-setup'), old, { mode: 0o755 });
      for (const [version, code] of [
        ['3.2.7', 1],
        ['3.4.2', 1],
        ['3.4.3pre1', 1],
        ['3.4.3', 0],
        ['3.4.10', 0],
        ['4.0.0', 0],
      ] as const) {
        writeFileSync(join(bin, 'rsync'), `#!/bin/sh\necho 'rsync  version ${version}  protocol version 31'\n`, { mode: 0o755 });
        const words = ['--root', root, '--address', '172.17.0.1/16', '--dry-run'];
        const told = said(join(bin, 'rsync-setup'), words);
        assert.equal(told.code, code, `${version}: ${told.stderr}`);
        if (code === 0) continue;
        assert.match(told.stderr, /versions below 3\.4\.3 have security holes/);
        assert.equal(said(join(bin, 'rsync-setup'), [...words, '--accept', version]).code, 0);
      }
    } finally {
      rmSync(bin, { recursive: true });
    }
  });
});

describe('rsync-setup, on a host with docker and init scripts', function () {
  this.timeout(180_000);
  let bed: Testbed;
  const on = (...words: string[]): Said => bed.on('h1', words);
  const must = (...words: string[]): string => {
    const { code, stdout, stderr } = on(...words);
    assert.equal(code, 0, `${words.join(' ')}: ${stderr}${stdout}`);
    return stdout;
  };
  const setUp = (...words: string[]) => setUpOn(bed, 'h1', 'rsync-setup', ['--katas', '/var/lib/katas', ...words]);
  /** rsync in a container on the default bridge, as an old runner called it. */
  const container = (secret: string, url: string): Promise<string> =>
    bed.docker(
      'h1',
      'run',
      '--rm',
      '-e',
      `RSYNC_PASSWORD=${secret}`,
      '--entrypoint',
      'rsync',
      'katafleet/build-essential',
      '-r',
      '--contimeout=5',
      url,
    );
  before(async () => {
    bed = await Testbed.up({ hosts: 1 });
    copyScripts(bed, 'h1'); // a host sees its own /tmp and /home, not where this clone may lie
    must(
      'sh',
      '-c',
      'mkdir -p /var/lib/katas/ab/cdef/lion/sandbox; echo x > /var/lib/katas/ab/cdef/lion/sandbox/hiker.c; chmod -R a+rX /var/lib/katas',
    );
  });
  after(() => bed?.down());

  it('serves the katas to containers, and to nobody else', async () => {
    const { code, stdout, stderr } = setUp();
    assert.equal(code, 0, stderr);
    assert.match(stdout, /port 873 is open on 172\.17\.0\.1 alone/);
    const secret = must('cut', '-d:', '-f2', '/etc/rsyncd.secrets').trim();
    assert.match(await container(secret, 'rsync://cyber-dojo@172.17.0.1/katas/ab/cdef/lion/sandbox/'), /hiker\.c/);
    await assert.rejects(container('wrong', 'rsync://cyber-dojo@172.17.0.1/katas/'), /auth failed/);
    assert.equal(
      said('rsync', ['--contimeout=3', `rsync://cyber-dojo@${bed.address('h1')}/katas/`]).code,
      10,
      'closed to the hosts’ network',
    );
    assert.deepEqual(lines(setUp().stdout, '+'), [], 'a second time changes nothing');
  });

  it('starts at boot, where the package leaves it disabled, and answers', async () => {
    await bed.do('kill', 'h1');
    await bed.do('start', 'h1');
    assert.equal(setUp('--check').code, 1, 'nobody has started it yet');
    // What init does with the links of runlevel 3.
    must('sh', '-c', 'for script in /etc/rc3.d/S*rsync; do $script start; done');
    const looked = setUp('--check');
    assert.equal(looked.code, 0, looked.stderr);
    const secret = must('cut', '-d:', '-f2', '/etc/rsyncd.secrets').trim();
    assert.match(await container(secret, 'rsync://cyber-dojo@172.17.0.1/katas/'), /hiker\.c/);
  });

  it('server-setup does it too, and takes it back', () => {
    assert.equal(setUp('--undo').code, 0);
    const server = (...words: string[]) => setUpOn(bed, 'h1', 'server-setup', ['--rsync', '/var/lib/katas', ...words]);
    const { code, stderr } = server();
    assert.equal(code, 0, stderr);
    assert.equal(setUp('--check').code, 0);
    assert.deepEqual(lines(server().stdout, '+'), [], 'a second time changes nothing');
    assert.equal(server('--undo').code, 0);
    assert.equal(on('ls', '/etc/rsyncd.conf').code, 2);
    assert.equal(setUp().code, 0);
  });

  it('undone, nothing of it is left and nothing starts', () => {
    assert.equal(setUp('--undo').code, 0);
    assert.equal(on('sh', '-c', 'ls /etc/rsyncd.conf /etc/rsyncd.secrets /etc/katafleet').code, 2);
    must('sh', '-c', 'for script in /etc/rc3.d/S*rsync; do $script start; done');
    assert.equal(on('sh', '-c', 'ps ax | grep -q "[r]sync --daemon\\|[r]sync --no-detach"').code, 1);
  });
});
