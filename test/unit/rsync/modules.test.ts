import assert from 'node:assert/strict';
import fc from 'fast-check';
import {
  daemonText,
  moduleText,
  type DaemonModule,
  newCredentials,
  canBePath,
  pullCommand,
  pushCommand,
} from '../../../src/rsync/modules.ts';
import { checkRsyncVersion, parseRsyncVersion } from '../../../src/rsync/version.ts';

const credentials = { module: 'kf-0123', user: 'u', secret: 's3cret' };
const settings = { hostsAllow: ['172.17.0.0/16', '10.0.0.7'], folder: '/f/secrets', logFile: '/f/log', timeout: 20 };
const module = (kind: DaemonModule['kind']): DaemonModule => ({ kind, credentials, path: '/katas/with blank', uid: 33, gid: 44 });
const at = { host: '172.17.0.1', port: 8730, timeout: 20 };

/** Keys and values of the only section of a text. */
function parsed(text: string): Record<string, string> {
  const [head, ...lines] = text.trim().split('\n');
  assert.equal(head, '[kf-0123]');
  return Object.fromEntries(lines.map((line) => line.trim().split(' = ') as [string, string]));
}

describe('rsync: modules', () => {
  it('a pull module shows one folder, read only, to who knows its secret, from where sandboxes are', () => {
    assert.deepEqual(parsed(moduleText(module('pull'), settings)), {
      path: '/katas/with blank',
      'use chroot': 'yes',
      'numeric ids': 'yes',
      list: 'no',
      'read only': 'yes',
      exclude: '.git',
      uid: '33',
      gid: '44',
      'auth users': 'u',
      'secrets file': '/f/secrets/kf-0123.secrets',
      'strict modes': 'yes',
      'hosts allow': '172.17.0.0/16 10.0.0.7',
      'hosts deny': '*',
      'reverse lookup': 'no',
      'forward lookup': 'no',
      'max connections': '2',
      'lock file': '/f/secrets/kf-0123.lock',
      'refuse options': '* !recursive !times !perms !whole-file !timeout',
      'max verbosity': '0',
      timeout: '20',
      'transfer logging': 'yes',
      'log format': '%o %h [%a] %m (%u) %f %l',
      'log file': '/f/log',
    });
  });

  it('a drop can be written and not read, and takes no option that deletes, links or names another place', () => {
    const drop = parsed(moduleText(module('drop'), settings));
    assert.deepEqual([drop['read only'], drop['write only'], drop['exclude']], ['no', 'yes', undefined]);
    assert.equal(drop['incoming chmod'], 'D0700,F0600');
    assert.equal(drop['refuse options'], '* !relative !no-implied-dirs !whole-file !timeout');
  });

  it('the secret is in no text but the secrets file’s, and in no argument', () => {
    const texts = [moduleText(module('pull'), settings), moduleText(module('drop'), settings)];
    const commands = [pullCommand(at, credentials), pushCommand(at, credentials, [Buffer.from('a')])];
    for (const text of [...texts, ...commands.flatMap(({ argv }) => argv)]) assert.ok(!text.includes('s3cret'), text);
    for (const { env } of commands) assert.equal(env['RSYNC_PASSWORD'], 's3cret');
  });

  it('credentials are random, as long as they must be, and plain words of rsyncd.conf and a secrets file', () => {
    const many = Array.from({ length: 200 }, () => newCredentials());
    for (const { module: name, user, secret } of many) {
      assert.match(name, /^kf-[0-9a-f]{32}$/);
      assert.match(user, /^[0-9a-f]{16}$/);
      assert.match(secret, /^[\w-]{43}$/);
    }
    assert.equal(new Set(many.flatMap(({ module: name, user, secret }) => [name, user, secret])).size, 600);
  });

  it('commands name no shell, follow no link, and take no options from a home', () => {
    for (const { argv, env } of [pullCommand(at, credentials), pushCommand(at, credentials, [])]) {
      assert.equal(argv[0], '/usr/bin/rsync');
      for (const option of ['--no-links', '--no-devices', '--no-specials', '--protocol=31']) assert.ok(argv.includes(option), option);
      assert.ok(!argv.some((word) => /^(-e|--rsh|-L|--copy-links|-F|--filter|--delete)/.test(word)));
      assert.equal(env['HOME'], '/nonexistent');
    }
    const v6 = pullCommand({ ...at, host: 'fd00::1' }, credentials).argv;
    assert.ok(v6.includes('rsync://u@[fd00::1]:8730/kf-0123/'));
  });

  it('names of a push are bytes that end in a byte 0, whatever they are', () => {
    const name = fc.uint8Array({ minLength: 1, maxLength: 40 }).filter((bytes) => !bytes.includes(0));
    fc.assert(
      fc.property(fc.array(name), (names) => {
        const { argv, stdin } = pushCommand(
          at,
          credentials,
          names.map((bytes) => Buffer.from(bytes)),
        );
        assert.ok(argv.includes('--files-from=-') && argv.includes('--from0'));
        const back = (stdin ?? Buffer.alloc(0)).toString('latin1').split('\0');
        assert.equal(back.pop(), '');
        assert.deepEqual(
          back,
          names.map((bytes) => Buffer.from(bytes).toString('latin1')),
        );
      }),
    );
  });

  it('a path that rsyncd.conf can’t say as it is, is none; one that it can, comes out as it went in', () => {
    for (const path of ['relative', '/a%HOME%', '/a\nb', '/a ', ' /a', '/a\\', '/a/./b', '/a\x7f', '/\udcff', '/a\tb', '/a\r']) {
      assert.ok(!canBePath(path), JSON.stringify(path));
    }
    for (const path of ['/a', '/a b/c', '/ünï/☃', '/q\'"', '/[x]', '/a#b;c', '/=', '/.hidden/..x']) assert.ok(canBePath(path), path);
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), (tail) => {
        const path = `/${tail}`;
        if (!canBePath(path)) return;
        const line = moduleText({ ...module('pull'), path }, settings).split('\n')[1];
        assert.equal(line, `  path = ${path}`);
        assert.equal(line.trim(), `path = ${path}`);
      }),
    );
  });

  it('the daemon’s own text refuses everybody but by a module’s word', () => {
    const text = daemonText([moduleText(module('pull'), settings)], { folder: '/f', logFile: '/f/log', pidFile: '/f/pid' });
    const [head = ''] = text.split('[');
    for (const line of ['hosts deny = *', 'list = no', 'use chroot = yes', 'pid file = /f/pid'])
      assert.ok(head.includes(`${line}\n`), line);
    assert.ok(text.endsWith('log file = /f/log\n'));
  });
});

describe('rsync: versions', () => {
  const check =
    (version: string, accept: string[] = []) =>
    () =>
      checkRsyncVersion(version, accept);

  it('reads what rsync --version says', () => {
    assert.equal(parseRsyncVersion('rsync  version 3.5.0  protocol version 32\nCopyright'), '3.5.0');
    assert.equal(parseRsyncVersion('rsync  version v3.4.1+ds1  protocol version 32'), '3.4.1+ds1');
    for (const said of ['', 'openrsync: protocol version 29', 'rsync version unknown']) {
      assert.throws(() => parseRsyncVersion(said), { code: 'rsync.daemon' });
    }
  });

  it('refuses what is below the security fixes, with the reason and the way out', () => {
    for (const version of ['3.4.2', '3.4.1+ds1', '3.2.7', '2.6.9', '3.4.3pre1', '3.3.99', 'odd']) {
      assert.throws(check(version), (error: Error & { code?: string; hint?: string }) => {
        assert.equal(error.code, 'rsync.daemon');
        assert.match(error.message, /versions below 3\.4\.3 have security holes/);
        assert.ok(error.hint?.includes(`rsync.accept: ["${version}"]`));
        return true;
      });
    }
    for (const version of ['3.4.3', '3.4.10', '3.5.0', '3.5.0dev', '4.0.0', '3.10.1', '3.4.3+ds1'])
      assert.doesNotThrow(check(version), version);
  });

  it('takes a version that is named, and no other', () => {
    assert.doesNotThrow(check('3.2.7', ['3.2.7']));
    assert.throws(check('3.2.6', ['3.2.7']), { code: 'rsync.daemon' });
    assert.throws(check('3.2.7+x', ['3.2.7']), { code: 'rsync.daemon' });
  });
});
