import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Duplex } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { profileOf, sandboxLimits } from '../../src/model/profile.ts';
import { Step } from '../../src/model/request.ts';
import { containerName } from '../../src/drivers/docker/container-name.ts';
import { runWords } from '../../src/drivers/ssh/flags.ts';
import { parseRelease } from '../../src/drivers/ssh/parse/version.ts';
import { Conversation } from '../../src/protocol/conversation.ts';
import { encodeOpen } from '../../src/protocol/requests.ts';
import { executeStep } from '../../src/runs/attempt/execute.ts';
import { upload } from '../../src/runs/attempt/upload.ts';
import { eventually } from '../support/eventually.ts';
import { copyScripts, must as mustOn, setUp } from '../support/node-setup.ts';
import { said } from '../support/said.ts';
import { Testbed } from '../support/testbed.ts';

/** Shown on every host, wherever it lies. */
const repository = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '');

const image = 'katafleet/build-essential';
const changes = (output: string) => output.split('\n').filter((line) => line.startsWith('+ '));

describe('node-setup and server-setup', function () {
  this.timeout(180_000);
  let testbed: Testbed;
  const scratch = mkdtempSync(join(tmpdir(), 'katafleet-setup-'));
  const key = join(scratch, 'key');
  const config = join(scratch, 'ssh_config');
  let publicKey = '';
  let listener: Server;
  let port = 0;

  before(async () => {
    assert.equal(said('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', 'server', '-f', key]).code, 0);
    publicKey = readFileSync(`${key}.pub`, 'utf8');
    listener = createServer((socket) => socket.end('here\n')).listen(0, '0.0.0.0');
    await once(listener, 'listening');
    port = (listener.address() as { port: number }).port;
    testbed = await Testbed.up({ hosts: 2 });
    writeFileSync(config, readFileSync(testbed.sshConfig, 'utf8').replace(/IdentityFile .*/, `IdentityFile ${key}`));
    for (const host of ['h1', 'h2']) copyScripts(testbed, host);
    await testbed.useOldDocker('h1');
  });
  after(async () => {
    listener?.close();
    await testbed?.down();
    rmSync(scratch, { recursive: true, force: true });
  });

  const must = (host: string, words: readonly string[], input: string | Buffer = '') => mustOn(testbed, host, words, input);
  /** ssh from this machine with the server's key. */
  const sshWords = (host: string) => ['-F', config, '-T', host];
  const ssh = (host: string, line: string, input = '') => said('ssh', [...sshWords(host), line], { input });

  const nodeSetup = (host: string, words: readonly string[], input = publicKey, shell: readonly string[] = ['sh']) =>
    setUp(testbed, host, 'node-setup', words, { input, shell });
  const setUpNode = (host: string) => {
    const { code, stdout, stderr } = nodeSetup(host, ['--key', '-', '--server', testbed.server]);
    assert.equal(code, 0, stderr);
    return stdout;
  };
  const undo = (host: string) => must(host, ['sh', '/tmp/katafleet/node-setup', '--undo']);

  /** All files of a host that are its own and that no daemon writes to, and the firewall. useradd and its kin keep the previous `passwd-`. */
  function snapshot(host: string): string {
    const others = ['/var/lib/docker', '/var/log/dockerd.log', '/etc/*-', repository].map((path) => `-path '${path}' -prune -o`);
    const own = `find /etc /home /root /usr/local /var ${others.join(' ')}`;
    return must(host, [
      'sh',
      '-c',
      `${own} -printf '%p %y %m %U %G %l\\n' | sort; ${own} -type f -exec sha256sum {} + | sort -k2; nft list ruleset | grep -c katafleet || :`,
    ]);
  }

  /** Whether a TCP connection from one place to another comes about. */
  const reaches = (from: string, address: string, to: number) =>
    testbed.on(from, ['timeout', '3', 'bash', '-c', `exec 3<>/dev/tcp/${address}/${to}`]).code === 0;
  const containerReaches = (host: string, address: string, to: number) =>
    testbed.on(host, [
      'timeout',
      '20',
      '/usr/bin/docker',
      'run',
      '--rm',
      image,
      'timeout',
      '3',
      'bash',
      '-c',
      `exec 3<>/dev/tcp/${address}/${to}`,
    ]).code === 0;
  const serverReaches = (host: string) => said('timeout', ['3', 'bash', '-c', `exec 3<>/dev/tcp/${testbed.address(host)}/22`]).code === 0;

  describe('on a node', () => {
    it('a dry run changes nothing, and says what it would do', () => {
      const before = snapshot('h1');
      const { code, stdout, stderr } = nodeSetup('h1', ['--key', '-', '--server', testbed.server, '--dry-run']);
      assert.equal(code, 0, stderr);
      for (const step of [
        /would write .*katafleet-gate/,
        /would write .*supervisor/,
        /would write .*authorized_keys/,
        /would put the firewall up/,
      ])
        assert.match(stdout, step);
      assert.deepEqual(changes(stdout), []);
      assert.equal(snapshot('h1'), before);
    });

    it('refuses what it cannot work with, and changes nothing', () => {
      const before = snapshot('h2');
      const server = ['--server', testbed.server];
      const refused: [string[], RegExp, string?][] = [
        [server, /--key FILE is missing/],
        [['--key', '/nonexistent', ...server], /\/nonexistent can't be read/],
        [['--key', '-', ...server], /is not one public key/, ''],
        [['--key', '-', ...server], /is not one public key/, publicKey + publicKey],
        [['--key', '-', ...server], /is not one public key/, `command="sh" ${publicKey}`],
        [['--key', '-', ...server], /is not one public key/, readFileSync(key, 'utf8')],
        [['--key', '-'], /--server ADDRESS is missing/],
        [['--key', '-', '--server', 'server.example'], /not an IP address/],
        [['--key', '-', '--server', '10.0.0.1; drop'], /not an IP address/],
        [['--key', '-', ...server, '--ssh-port', 'x'], /is not a port/],
        [['--key', '-', ...server, '--supervisor', '/etc/passwd'], /does not run on this machine/],
        [['--key', '-', ...server, '--supervisor', '/nonexistent'], /does not exist/],
        [['--key', '-', '--server'], /needs a value/],
        [['--key', '-', '--frobnicate'], /unknown option --frobnicate/],
      ];
      for (const [words, says, input] of refused) {
        const { code, stderr } = nodeSetup('h2', words, input);
        assert.ok(code === 1 || code === 2, words.join(' '));
        assert.match(stderr, says);
      }
      const locked = nodeSetup('h2', ['--key', '-', ...server], publicKey, ['env', 'SSH_CONNECTION=10.9.9.9 1 10.93.0.12 22', 'sh']);
      assert.match(locked.stderr, /would shut out: add --admin 10\.9\.9\.9/);
      assert.equal(snapshot('h2'), before);
    });

    it('is set up once: a second time nothing changes', () => {
      const first = setUpNode('h1');
      assert.ok(changes(first).length > 8, first);
      const after = snapshot('h1');
      assert.deepEqual(changes(setUpNode('h1')), []);
      assert.equal(snapshot('h1'), after);
    });

    it('the key opens the gate and nothing else', () => {
      const hello = ssh('h1', 'katafleet-gate hello');
      assert.match(
        hello.stdout,
        /^katafleet-gate 1\nsupervisor [0-9a-f]{64} \/usr\/local\/lib\/katafleet\/supervisor\nimages katafleet\/\*\nload no\n$/,
      );
      assert.match(ssh('h1', 'docker version').stdout, /^Client version: 1\.6\.2\n[^]*Server version: 1\.6\.2\n/);
      const hostile = [
        'id',
        '',
        'docker run -v /:/host katafleet/build-essential sh',
        'docker exec -i x sh',
        'docker version; id',
        'docker version\nid',
        'sh -c "docker version"',
      ];
      for (const line of hostile) {
        const { code, stdout, stderr } = ssh('h1', line, 'id\n');
        assert.equal(code, 126, line);
        assert.match(stderr, /^katafleet-gate: refused: /m);
        assert.equal(stdout, '');
      }
      const options = ['-F', config];
      assert.notEqual(said('scp', [...options, key, 'h1:/tmp/stolen']).code, 0);
      assert.notEqual(said('sftp', [...options, 'h1'], { input: 'ls\n' }).code, 0);
      assert.match(
        said('ssh', [...options, '-W', '127.0.0.1:2375', 'h1'], { input: 'GET /info HTTP/1.0\r\n\r\n' }).stderr,
        /prohibited|open failed|forwarding failed/,
      );
      assert.match(said('ssh', [...options, '-tt', 'h1', 'katafleet-gate hello']).stderr, /PTY allocation request failed/);
      assert.equal(testbed.on('h1', ['test', '-e', '/tmp/stolen']).code, 1);
      const log = must('h1', ['cat', '/var/log/katafleet-gate.log']);
      assert.match(
        log,
        new RegExp(`refused: docker exec is no call of katafleet's; from ${testbed.server}; command: docker exec -i x sh\n`),
      );
      assert.ok(log.split('\n').length > hostile.length);
    });

    it('a run as the driver asks for it works through the gate, and is gone when it is removed', async () => {
      const id = (await testbed.docker('h1', 'image', 'inspect', '-f', '{{.Id}}', image)).trim();
      const spec = {
        image: { name: image, id, volumes: [] },
        name: 'gate-1',
        limits: sandboxLimits(profileOf({ memory: 128 * 1024 ** 2 })),
        labels: { 'katafleet.role': 'sandbox', 'katafleet.owner': 'a test/1' },
        idleMs: 60_000,
      };
      const name = containerName(spec.name, spec.limits.memory);
      const words = runWords(spec, { release: parseRelease('1.6.2'), installedSupervisor: '/usr/local/lib/katafleet/supervisor' });
      const child = spawn('ssh', [...sshWords('h1'), words.join(' ')], { stdio: 'pipe' });
      const ended = once(child, 'exit');
      let complaint = '';
      child.stderr.on('data', (chunk: Buffer) => (complaint += chunk.toString()));
      const conversation = new Conversation(Duplex.from({ readable: child.stdout, writable: child.stdin }));
      await conversation.hello();
      const { filesBack, fileBack, bytesBack } = profileOf({});
      await conversation.send(encodeOpen({ uid: 2_000_000_001, gid: 2_000_000_001, lifetimeMs: 60_000, filesBack, fileBack, bytesBack }));
      await upload(conversation, {
        remove: [],
        files: [{ path: 'a', mode: 0o644, mtimeNs: 1n, content: Buffer.from('given') }],
        folders: [],
      });
      const step = Step.parse({ argv: ['bash', '-c', 'cat a; grep -c . /proc/net/dev; stat -f -c %T /sandbox; exit 3'] });
      const result = await executeStep(conversation, 1, step, profileOf({}), { collect: false, processes: 32 });
      assert.deepEqual([result.outcome, result.stdout.toString()], [{ kind: 'exited', code: 3 }, 'given3\ntmpfs\n'], complaint);
      const removed = ssh('h1', `docker rm -f -v ${name}`);
      assert.equal(removed.code, 0, removed.stderr);
      // The client of 1.6 goes when its stdin ends, however long ago the container went.
      child.stdin.end();
      await ended;
      const gone = ssh('h1', `docker inspect ${name}`);
      assert.deepEqual([gone.code, gone.stdout], [1, '[]\n']);
      assert.equal(await testbed.docker('h1', 'ps', '-a', '-q'), '');
      assert.equal(await testbed.docker('h1', 'volume', 'ls', '-q'), '');
    });

    it('other people’s images and containers are out of reach', async () => {
      const id = (await testbed.docker('h1', 'images', '-q', '--no-trunc', image)).trim();
      await testbed.docker('h1', 'tag', image, 'other/thing');
      await testbed.docker('h1', 'rmi', image);
      const theirs = (await testbed.docker('h1', 'create', 'other/thing', 'true')).trim();
      try {
        const words = runWords(
          {
            image: { name: 'x', id, volumes: [] },
            name: 'gate-2',
            limits: sandboxLimits(profileOf()),
            labels: { 'katafleet.role': 'sandbox' },
            idleMs: 1_000,
          },
          { release: parseRelease('1.6.2'), installedSupervisor: '/usr/local/lib/katafleet/supervisor' },
        );
        assert.match(ssh('h1', words.join(' ')).stderr, /refused: the image [0-9a-f]{64} is .*not among what may run here/);
        assert.match(ssh('h1', `docker rm -f -v ${theirs}`).stderr, /refused: the container .* does not carry the label/);
        assert.equal((await testbed.docker('h1', 'ps', '-a', '-q', '--no-trunc')).trim(), theirs);
      } finally {
        await testbed.docker('h1', 'rm', theirs);
        await testbed.docker('h1', 'tag', 'other/thing', image);
        await testbed.docker('h1', 'rmi', 'other/thing');
      }
    });

    it('only the server comes in by ssh, and containers get out to the server alone', () => {
      assert.ok(serverReaches('h1'));
      assert.ok(!reaches('h2', testbed.address('h1'), 22), 'another address reaches sshd');
      assert.ok(reaches('h2', testbed.address('h1'), 2375), 'what is not ssh is none of this firewall’s business');
      assert.ok(containerReaches('h1', testbed.server, port), 'a container does not reach the server');
      assert.ok(!containerReaches('h1', testbed.address('h2'), 22), 'a container reaches another node');
      assert.ok(!containerReaches('h1', testbed.address('h1'), 22), 'a container reaches its own node');
      assert.ok(containerReaches('h2', testbed.address('h1'), 2375), 'the control: a node without a firewall lets its containers out');
    });

    it('the firewall is up again after a boot, by the init script', async () => {
      await testbed.do('kill', 'h1');
      await testbed.do('start', 'h1');
      // A host of the testbed runs no init scripts by itself. Its network card is a new one, which others have to learn.
      must('h2', ['ip', 'neigh', 'flush', 'to', testbed.address('h1')]);
      said('ip', ['neigh', 'flush', 'to', testbed.address('h1')]);
      await eventually('h1 is open to all', 60, async () => assert.ok(reaches('h2', testbed.address('h1'), 22)));
      assert.ok(serverReaches('h1'));
      const [script = ''] = must('h1', ['sh', '-c', 'echo /etc/rc2.d/S*katafleet-firewall']).trim().split(' ');
      must('h1', [script, 'start']);
      assert.ok(serverReaches('h1'));
      assert.ok(!reaches('h2', testbed.address('h1'), 22));
    });

    it('images can be loaded until there are some, and whenever somebody opens it', () => {
      const loads = () => ssh('h1', 'docker load', 'no archive').stderr.includes('refused: LOAD=no');
      const load = (words: readonly string[]) => {
        const { code, stdout, stderr } = nodeSetup('h1', words);
        assert.equal(code, 0, stderr);
        return stdout + stderr;
      };
      assert.ok(loads(), 'the images are there: no more are loaded');
      assert.match(load(['--load', 'yes']), /take the server's key for root on this node where Docker is older than 1\.10/);
      assert.ok(!loads());
      assert.match(load(['--key', '-', '--server', testbed.server]), /no images can be loaded through the gate \(LOAD=no\)/);
      assert.ok(loads());

      const conf = testbed.path('h1', '/etc/katafleet/gate.conf');
      writeFileSync(conf, 'IMAGES=others/*\nLOAD=yes\n# kept\n');
      chmodSync(conf, 0o600);
      assert.match(ssh('h1', 'docker version').stderr, /refused: this node's \/etc\/katafleet\/gate\.conf can't be read by test-runner/);
      load(['--key', '-', '--server', testbed.server]);
      assert.equal(readFileSync(conf, 'utf8'), 'IMAGES=others/*\nLOAD=yes\n# kept\n', 'nothing may run here yet');
      assert.equal(ssh('h1', 'docker version').code, 0);
      load(['--load', 'no']);
      assert.equal(readFileSync(conf, 'utf8'), 'IMAGES=others/*\nLOAD=no\n# kept\n');
      rmSync(conf);
      assert.match(ssh('h1', 'docker version').stderr, /refused: this node has no \/etc\/katafleet\/gate\.conf/);
      assert.match(nodeSetup('h1', ['--load', 'no']).stderr, /set the node up first/);
      setUpNode('h1');
    });

    it('an old line with the same key does not open a shell any more', () => {
      const keys = testbed.path('h1', '/home/test-runner/.ssh/authorized_keys');
      writeFileSync(keys, `${publicKey}${readFileSync(keys, 'utf8')}`);
      assert.equal(ssh('h1', 'id').code, 0, 'the control: the first line counts');
      setUpNode('h1');
      assert.equal(ssh('h1', 'id').code, 126);
    });

    it('undo leaves nothing behind', () => {
      undo('h1');
      const fresh = snapshot('h1');
      for (const trace of [/katafleet/, /authorized_keys\.before/])
        assert.doesNotMatch(fresh.replace(/^.*\/tmp\/katafleet.*$/gm, ''), trace);
      assert.ok(reaches('h2', testbed.address('h1'), 22));
      setUpNode('h1');
      undo('h1');
      assert.equal(snapshot('h1'), fresh);
      assert.match(undo('h1'), /nothing to undo/);
    });

    it('makes the user and the group where there are none, and removes them again', async () => {
      must('h2', ['userdel', '-r', 'test-runner']);
      must('h2', ['groupdel', 'docker']);
      const before = snapshot('h2');
      const { code, stderr } = nodeSetup('h2', ['--key', '-', '--server', testbed.server]);
      assert.equal(code, 0, stderr);
      assert.match(stderr, /restart the docker daemon: its socket is not yet open to the group docker/);
      assert.match(ssh('h2', 'docker version').stderr, /permission denied/);
      await testbed.do('kill-engine', 'h2');
      await testbed.do('start-engine', 'h2');
      assert.match(ssh('h2', 'docker version').stdout, /Version: +20\.|Version: +2\d/);
      // A connection that stands keeps its user: it is ended, and said.
      const socket = ['-o', `ControlPath=${join(scratch, 'master')}`];
      const standing = spawn('ssh', [...sshWords('h2'), '-M', '-N', ...socket], { stdio: 'ignore' });
      const ended = once(standing, 'exit');
      await eventually('a connection stands', 60, async () =>
        assert.equal(said('ssh', [...sshWords('h2'), '-O', 'check', ...socket]).code, 0),
      );
      assert.match(
        must('h2', ['sh', '/tmp/katafleet/node-setup', '--undo', '--dry-run']),
        /\? would end what still runs as test-runner: \d+ \(sshd/,
      );
      assert.match(undo('h2'), /\+ end what still runs as test-runner: \d+ \(sshd[^]*\+ remove the user test-runner/);
      await ended;
      assert.equal(snapshot('h2'), before);
    });

    it('has systemd start and stop the firewall, and unload its unit', () => {
      // What systemd would do with the unit: nothing of its own is started here.
      const systemctl = `#!/bin/sh
unit=/etc/systemd/system/katafleet-firewall.service
echo "$*" >>/run/systemctl.calls
[ "$1" != --quiet ] || shift
words() { sed -n "s/^$1=//p" $unit; }
case $1 in
  is-enabled | is-active) test -e /run/enabled ;;
  enable) $(words ExecStart) && touch /run/enabled ;;
  disable) $(words ExecStop) && rm /run/enabled ;;
esac
`;
      must(
        'h2',
        ['sh', '-c', 'mkdir -p /run/systemd/system && cat >/usr/local/bin/systemctl && chmod +x /usr/local/bin/systemctl'],
        systemctl,
      );
      const calls = () => must('h2', ['sh', '-c', 'cat /run/systemctl.calls; rm /run/systemctl.calls']).trim().split('\n');
      setUpNode('h2');
      assert.deepEqual(calls(), ['daemon-reload', '--quiet enable --now katafleet-firewall']);
      assert.ok(!reaches('h1', testbed.address('h2'), 22), 'its start put the rules up');
      assert.deepEqual(changes(setUpNode('h2')), []);
      assert.deepEqual(calls(), ['--quiet is-enabled katafleet-firewall', '--quiet is-active katafleet-firewall']);
      undo('h2');
      assert.deepEqual(calls(), ['--quiet disable --now katafleet-firewall', 'daemon-reload']);
      assert.equal(testbed.on('h2', ['test', '-e', '/etc/systemd/system/katafleet-firewall.service']).code, 1);
      assert.ok(reaches('h1', testbed.address('h2'), 22));
      must('h2', ['rm', '-r', '/run/systemd/system', '/usr/local/bin/systemctl']);
    });

    it('does the same with iptables where the kernel has nftables without the family inet', async () => {
      must('h2', [
        'sh',
        '-c',
        'mkdir -p /usr/local/sbin && printf "#!/bin/sh\\n[ \\"\\$*\\" = \\"list tables\\" ]\\n" >/usr/local/sbin/nft && chmod +x /usr/local/sbin/nft && nft list tables',
      ]);
      setUpNode('h2');
      assert.match(must('h2', ['/usr/local/lib/katafleet/firewall', 'show']), /-A KATAFLEET-IN -p tcp -m tcp --dport 22 -j DROP/);
      assert.deepEqual(changes(setUpNode('h2')), []);
      assert.ok(serverReaches('h2'));
      assert.ok(!reaches('h1', testbed.address('h2'), 22));
      assert.ok(containerReaches('h2', testbed.server, port));
      assert.ok(!containerReaches('h2', testbed.address('h1'), 22));
      // Docker puts its own rules first when it starts.
      await testbed.do('kill-engine', 'h2');
      await testbed.do('start-engine', 'h2');
      assert.ok(!containerReaches('h2', testbed.address('h1'), 22));
      undo('h2');
      assert.ok(reaches('h1', testbed.address('h2'), 22));
      assert.doesNotMatch(must('h2', ['iptables', '-t', 'mangle', '-S']), /KATAFLEET/);
      must('h2', ['rm', '/usr/local/sbin/nft']);
    });
  });

  describe('on the server', () => {
    const serverSetup = (words: readonly string[], shell: readonly string[] = ['sh']) =>
      setUp(testbed, 'h2', 'server-setup', words, { shell });
    const asWeb = (words: string) => testbed.on('h2', ['su', '-s', '/bin/sh', 'www-data', '-c', words]);
    /** A command at a terminal, which a person answers. */
    const atTerminal = (words: readonly string[], answer: string) =>
      testbed.on('h2', ['script', '-qec', ['sh', '/tmp/katafleet/server-setup', ...words].join(' '), '/dev/null'], `${answer}\n`);
    const hostKey = () => readFileSync(testbed.path('h1', '/etc/ssh/ssh_host_ed25519_key.pub'), 'utf8');
    let fresh = '';
    before(() => {
      if (testbed.on('h2', ['id', 'test-runner']).code === 0) must('h2', ['userdel', '-r', 'test-runner']);
      writeFileSync(testbed.path('h2', '/tmp/h1.pub'), hostKey());
      fresh = snapshot('h2');
    });

    it('a dry run changes nothing', () => {
      const { code, stdout, stderr } = serverSetup(['--node', 'h1', '--dry-run']);
      assert.equal(code, 0, stderr);
      assert.match(
        stdout,
        /would make the user test-runner\n[^]*would ask h1 for its host keys[^]*would write \/etc\/sudoers\.d\/katafleet/,
      );
      assert.equal(snapshot('h2'), fresh);
    });

    it('accepts no host key that nobody confirmed', () => {
      const alone = serverSetup(['--node', 'h1'], ['setsid', '-w', 'sh']);
      assert.equal(alone.code, 1);
      const fingerprint = said('ssh-keygen', ['-lf', '-'], { input: hostKey() }).stdout.split(' ')[1] ?? '';
      assert.ok(alone.stderr.includes(fingerprint), alone.stderr);
      assert.match(alone.stderr, /there is no terminal to confirm/);
      const no = atTerminal(['--node', 'h1'], 'no');
      assert.match(no.stdout, /the host keys of h1 are not confirmed/);
      assert.equal(testbed.on('h2', ['ssh-keygen', '-F', 'h1', '-f', '/home/test-runner/.ssh/known_hosts']).code, 255);
      const yes = atTerminal(['--node', 'h1'], 'yes');
      assert.match(yes.stdout, /\+ write \/home\/test-runner\/\.ssh\/known_hosts/);
      must('h2', ['sh', '/tmp/katafleet/server-setup', '--undo']);
      assert.equal(snapshot('h2'), fresh);
    });

    it('refuses what it cannot work with', () => {
      for (const [words, says] of [
        [['--host-key', '/tmp/h1.pub'], /needs --node/],
        [['--node', 'h1', '--host-key', '/nonexistent'], /can't be read/],
        [['--node', 'h1', '--host-key', '/etc/passwd'], /has no key of h1/],
        [['--node', 'h1', '--node', 'h3', '--host-key', '/tmp/h1.pub'], /has no key of h1/],
        [['--node', '-oProxyCommand=id'], /is not a host/],
        [['--web-user', 'ALL, root'], /is not a user name/],
        [['--key-type', 'dsa'], /expected ed25519 or rsa/],
        [['--what'], /unknown option --what/],
      ] as const)
        assert.match(serverSetup(words).stderr, says);
      must('h2', ['sh', '/tmp/katafleet/server-setup', '--undo']);
      assert.equal(snapshot('h2'), fresh);
    });

    it('the web user reaches a node’s gate as test-runner, by one line of sudoers', () => {
      const words = ['--node', 'h1', '--host-key', '/tmp/h1.pub'];
      const { code, stdout, stderr } = serverSetup(words);
      assert.equal(code, 0, stderr);
      assert.equal(must('h2', ['cat', '/etc/sudoers.d/katafleet']).split('\n')[1], 'www-data ALL=(test-runner) NOPASSWD: /usr/bin/ssh');
      must('h2', ['visudo', '-c']);
      const after = snapshot('h2');
      assert.deepEqual(changes(serverSetup(words).stdout), []);
      assert.equal(snapshot('h2'), after);

      const shown = stdout.split('\n').find((line) => line.startsWith('ssh-ed25519 ')) ?? '';
      const { code: nodeCode, stderr: complaint } = nodeSetup('h1', ['--key', '-', '--server', testbed.address('h2')], shown);
      assert.equal(nodeCode, 0, complaint);
      const ssh = 'sudo -n -u test-runner -- ssh -o BatchMode=yes -o StrictHostKeyChecking=yes test-runner@h1';
      assert.match(asWeb(`${ssh} katafleet-gate hello`).stdout, /^katafleet-gate 1\n/);
      assert.match(asWeb(`${ssh} id`).stderr, /refused/);
      assert.match(asWeb('sudo -n -u test-runner id').stderr, /password is required|not allowed/);
      assert.match(asWeb('sudo -n ssh h1').stderr, /password is required|not allowed/);
      assert.ok(!serverReaches('h1'), 'this machine is not the server of h1 any more');
    });

    it('undo leaves nothing behind', () => {
      must('h2', ['sh', '/tmp/katafleet/server-setup', '--undo']);
      assert.equal(snapshot('h2'), fresh);
      undo('h1');
    });
  });
});
