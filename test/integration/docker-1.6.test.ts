import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { endpoint } from '../support/fleet.ts';
import { said } from '../support/said.ts';
import { oldDocker } from '../support/testbed.ts';

/** The stand-in for Docker 1.6.2 does what facts of a real 1.6.2 say, over the tests' engine. */
describe('the docker that behaves as 1.6.2', function () {
  this.timeout(120_000);
  const image = 'katafleet/build-essential';
  const label = `katafleet-test.docker16=${process.pid}`;
  const env = { DOCKER_HOST: endpoint };
  const scratch = mkdtempSync(join(tmpdir(), 'katafleet-docker16-'));
  const old = (words: readonly string[], input: string | Buffer = '', more: NodeJS.ProcessEnv = {}) =>
    said(oldDocker, words, { input, env: { ...env, ...more } });
  const real = (...words: string[]) => said('/usr/bin/docker', words, { env }).stdout.trim();
  const ours = () => real('ps', '-a', '-q', '--no-trunc', '--filter', `label=${label}`).split('\n').filter(Boolean);
  const run = ['run', '-l', label, '--net', 'none'];
  interface Inspected {
    Id: string;
    Name: string;
    Image: string;
    Config: { Labels: Record<string, string>; Memory: number };
    State: { Running: boolean; ExitCode: number; Error: string };
    HostConfig: { Memory: number; MemorySwap: number };
  }
  const inspect = (...names: string[]) => JSON.parse(old(['inspect', ...names]).stdout) as Inspected[];

  before(() => assert.notEqual(endpoint, '', 'DOCKER_HOST must name an engine that the tests may use; scripts/test sees to it'));
  afterEach(() => {
    for (const id of ours()) real('rm', '-f', '-v', id);
  });
  after(() => rmSync(scratch, { recursive: true, force: true }));

  it('prints its version line by line', () => {
    assert.equal(
      old(['version']).stdout,
      'Client version: 1.6.2\nClient API version: 1.18\nGo version (client): go1.4\nGit commit (client): 7c8fca2\nOS/Arch (client): linux/amd64\n' +
        'Server version: 1.6.2\nServer API version: 1.18\nGo version (server): go1.4\nGit commit (server): 7c8fca2\nOS/Arch (server): linux/amd64\n',
    );
  });

  it('prints info in its form, and warnings to stderr when the kernel lacks limits', () => {
    const { stdout } = old(['info']);
    assert.match(
      stdout,
      /^Containers: \d+\nImages: \d+\nStorage Driver: overlay\n Backing Filesystem: extfs\nExecution Driver: native-0\.2\nKernel Version: \S+\nOperating System: .+\nCPUs: \d+\nTotal Memory: [\d.]+ GiB\nName: \S+\nID: (\w{4}:){11}\w{4}\n$/,
    );
    assert.match(
      old(['info'], '', { DOCKER16_WITHOUT: 'memory' }).stderr,
      /WARNING: No memory limit support\nWARNING: No swap limit support\n/,
    );
    assert.match(old(['info'], '', { DOCKER16_WITHOUT: 'swap' }).stderr, /^WARNING: No swap limit support\n/);
  });

  it('drops a memory limit in silence of its exit code where the kernel lacks it, and then refuses a limit of swap', () => {
    const words = (...limits: string[]) => [...run, ...limits, '--name', `katafleet-test-16-${process.pid}`, image, 'true'];
    const without = { DOCKER16_WITHOUT: 'memory' };
    const both = old(words('-m', '64m', '--memory-swap', '64m'), '', without);
    assert.equal(both.code, 1);
    assert.match(
      both.stderr,
      /msg="Error response from daemon: You should always set the Memory limit when using Memoryswap limit, see usage\."/,
    );
    assert.deepEqual(ours(), []);
    const endless = old(words('-m', '64m', '--memory-swap', '-1'), '', without);
    assert.equal(endless.code, 1);
    assert.match(endless.stderr, /mountpoint for memory not found/);
    old(['rm', '-f', `katafleet-test-16-${process.pid}`]);
    const { code, stderr } = old(words('-m', '64m'), '', without);
    assert.deepEqual([code, stderr], [0, 'WARNING: Your kernel does not support memory limit capabilities. Limitation discarded.\n']);
    assert.equal(inspect(`katafleet-test-16-${process.pid}`)[0]?.HostConfig.Memory, 0);
  });

  it('refuses limits that make no sense, in its words', () => {
    for (const [limits, says] of [
      ['-m 4m --memory-swap 3m', /Minimum memoryswap limit should be larger than memory limit, see usage\./],
      ['-m 4194303', /Minimum memory limit allowed is 4MB/],
      ['--memory-swap 64m', /You should always set the Memory limit when using Memoryswap limit/],
    ] as const) {
      const answer = old([...run, ...limits.split(' '), image, 'true']);
      assert.equal(answer.code, 1, limits);
      assert.match(answer.stderr, says);
    }
  });

  it('shows no control group in a container, whatever the engine below it does', () => {
    const { code, stdout } = old([
      ...run,
      image,
      'sh',
      '-c',
      'ls -A /sys/fs/cgroup; grep -c " /sys/fs/cgroup" /proc/mounts; cut -d: -f2 /proc/self/cgroup',
    ]);
    const [mounts, ...controllers] = stdout.trim().split('\n');
    assert.deepEqual([code, mounts], [0, '1'], 'the one is what hides the others');
    assert.ok(controllers.includes('memory'), 'the kernel still tells where it is');
  });

  it('as under AppArmor, lets nobody mount, whatever the capability', () => {
    const words = [...run, '--cap-add', 'SYS_ADMIN', image, 'mount', '-t', 'tmpfs', 'none', '/mnt'];
    assert.equal(old(words).code, 0);
    const denied = old(words, '', { DOCKER16_WITHOUT: 'mounts' });
    assert.notEqual(denied.code, 0);
    assert.match(denied.stderr, /Permission denied|permission denied|cannot mount/);
  });

  it('prints images as a table with columns of at least 20, ids without sha256', () => {
    const [head = '', ...rows] = old(['images', '--no-trunc']).stdout.trimEnd().split('\n');
    const at = ['REPOSITORY', 'TAG', 'IMAGE ID', 'CREATED', 'VIRTUAL SIZE'].map((column) => head.indexOf(column));
    assert.ok(
      at.every((place, index) => index === 0 || place >= (at[index - 1] ?? 0) + 20),
      head,
    );
    const row = rows.find((line) => line.startsWith(`${image} `)) ?? '';
    const cells = at.map((place, index) => row.slice(place, at[index + 1]).trim());
    assert.deepEqual(cells.slice(0, 3), [image, 'latest', real('images', '-q', '--no-trunc', image).replace('sha256:', '')]);
    assert.match(cells[3] ?? '', / ago$/);
    assert.match(cells[4] ?? '', /^[\d.]+ (kB|MB|GB)$/);
    assert.match(old(['images', '-q']).stdout, /^([0-9a-f]{12}\n)+$/);
  });

  it('refuses flags and verbs that came later, in its words and with its codes', () => {
    const refused: [string, number, RegExp][] = [
      ['run --badflag x', 2, /^flag provided but not defined: --badflag\nSee 'docker run --help'\.\n$/],
      ['run -itz x', 2, /^flag provided but not defined: -itz\n/],
      ['run -m', 2, /^flag needs an argument: -m\n/],
      ['run -i=maybe x', 2, /^invalid boolean value "maybe" for {2}-i: /],
      ['run', 1, /^docker: "run" requires a minimum of 1 argument\./],
      ...[
        'network',
        'cpus',
        'cpu-quota',
        'pids-limit',
        'memory-reservation',
        'memory-swappiness',
        'init',
        'tmpfs',
        'mount',
        'log-opt',
        'stop-timeout',
        'pull',
        'runtime',
        'userns',
        'group-add',
        'sysctl',
      ].map((flag): [string, number, RegExp] => [`run --${flag} x y`, 2, new RegExp(`^flag provided but not defined: --${flag}\n`)]),
      ['run --security-opt=no-new-privileges katafleet/build-essential', 1, /Invalid --security-opt: \\"no-new-privileges\\"/],
      ['inspect --type image x', 2, /not defined: --type/],
      ...['ps', 'images', 'version', 'info'].map((verb): [string, number, RegExp] => [`${verb} --format x`, 2, /not defined: --format/]),
      ...['-u', '-e', '-w'].map((flag): [string, number, RegExp] => [`exec ${flag} x y z`, 2, new RegExp(`not defined: ${flag}\n`)]),
      ...['image', 'container', 'volume', 'network', 'system', 'swarm', 'node', 'service', 'update', 'buildx'].map(
        (verb): [string, number, RegExp] => [
          `${verb} ls`,
          1,
          new RegExp(`^docker: '${verb}' is not a docker command\\. See 'docker --help'\\.\n$`),
        ],
      ),
    ];
    for (const [line, code, says] of refused) {
      const answer = old(line.split(' '));
      assert.deepEqual([answer.code, answer.stdout], [code, ''], line);
      assert.match(answer.stderr, says);
    }
  });

  it('ends with the program’s code, and with 1 for whatever the daemon complains of', () => {
    const name = `katafleet-test-16-${process.pid}`;
    assert.deepEqual(old([...run, '-i', image, 'sh', '-c', 'cat; echo err >&2; exit 7'], 'in'), { code: 7, stdout: 'in', stderr: 'err\n' });
    assert.equal(old([...run, image, 'sh', '-c', 'exit 127']).code, 127);
    assert.equal(old([...run, '-it=false', '--name', name, image, 'true']).code, 0);
    const conflict = old([...run, '--name', name, image, 'true']);
    assert.equal(conflict.code, 1);
    assert.match(
      conflict.stderr,
      new RegExp(
        `level=fatal msg="Error response from daemon: Conflict\\. The name \\\\"${name}\\\\" is already in use by container [0-9a-f]{12}\\.`,
      ),
    );
    const user = old([...run, '-u', 'nosuch', image, 'true']);
    assert.equal(user.code, 1);
    assert.match(user.stderr, /Cannot start container [0-9a-f]{64}: \[8\] System error: Unable to find user nosuch"/);
  });

  it('leaves the container of a failed start behind, --rm or not, with exit code -1 and an empty status', () => {
    const { code, stderr } = old([...run, '--rm', image, 'nosuchcommand']);
    assert.equal(code, 1);
    assert.match(stderr, /Cannot start container [0-9a-f]{64}: \[8\] System error: exec: \\"nosuchcommand\\"/);
    const [left = ''] = ours();
    const state = inspect(left)[0]?.State;
    assert.deepEqual([state?.ExitCode, state?.Running], [-1, false]);
    const [head = '', row = ''] = old(['ps', '-a'])
      .stdout.split('\n')
      .filter((line, index) => index === 0 || line.startsWith(left.slice(0, 12)));
    assert.equal(row.slice(head.indexOf('STATUS'), head.indexOf('PORTS')).trim(), '');
  });

  it('removes with --rm by its own doing: a client that is killed leaves its container', async () => {
    assert.equal(old([...run, '--rm', image, 'true']).code, 0);
    assert.deepEqual(ours(), []);
    const client = spawn(oldDocker, [...run, '--rm', '-i', image, 'sh', '-c', 'echo up; read x'], {
      env: { ...process.env, ...env },
      detached: true,
    });
    await once(client.stdout, 'data');
    process.kill(-(client.pid ?? 0), 'SIGKILL');
    await once(client, 'exit');
    assert.equal(ours().length, 1);
  });

  it('run -i returns only when its stdin ends, however long ago the program did', async () => {
    const client = spawn(oldDocker, [...run, '-i', image, 'true'], { env: { ...process.env, ...env } });
    let ended = false;
    const exit = once(client, 'exit').then(([code]) => ((ended = true), code as number));
    client.stdout.resume();
    client.stderr.resume();
    await once(client, 'spawn');
    while (ours().length === 0 || inspect(...ours())[0]?.State.Running !== false || inspect(...ours())[0]?.State.ExitCode === undefined)
      await new Promise((resolve) => setTimeout(resolve, 50));
    assert.equal(ended, false);
    client.stdin.end();
    assert.equal(await exit, 0);
  });

  it('inspects containers and images in one go, in its shape', () => {
    const name = `katafleet-test-16-${process.pid}`;
    old([...run, '-m', '64m', '--memory-swap', '64m', '--name', name, image, 'true']);
    const unknown = old(['inspect', 'nosuch']);
    assert.deepEqual(unknown, { code: 1, stdout: '[]\n', stderr: 'Error: No such image or container: nosuch\n' });
    const mixed = old(['inspect', image, 'nosuch', name]);
    assert.equal(mixed.code, 1);
    const [first, second, ...rest] = JSON.parse(mixed.stdout) as Inspected[];
    assert.deepEqual(rest, []);
    assert.match(first?.Id ?? '', /^[0-9a-f]{64}$/);
    assert.deepEqual(
      [second?.Name, second?.Image, second?.HostConfig.Memory, second?.Config.Labels],
      [`/${name}`, first?.Id, 64 * 1024 ** 2, { [label.split('=')[0] ?? '']: String(process.pid), ...first?.Config.Labels }],
    );
    assert.ok(!mixed.stdout.includes('sha256:'), 'ids have no sha256:');
    assert.ok(!('Status' in (second?.State ?? {})), 'State.Status came in 1.9');
  });

  it('pulls a missing image unasked', () => {
    const { code, stderr } = old([...run, 'nosuchimage', 'true']);
    assert.equal(code, 1);
    assert.match(
      stderr,
      /^Unable to find image 'nosuchimage:latest' locally\nPulling repository nosuchimage\ntime="[^"]+" level=fatal msg=/,
    );
  });

  it('ignores filters that it does not know', () => {
    old([...run, image, 'true']);
    assert.match(
      old(['ps', '-a', '-q', '--no-trunc', '-f', 'network=none', '-f', 'volume=nosuch']).stdout,
      new RegExp(`^${ours()[0] ?? ''}$`, 'm'),
    );
    assert.equal(old(['ps', '-a', '-q', '-f', 'label=nosuch']).stdout, '');
  });

  it('removes what there is, and fails for what there is not', () => {
    const name = `katafleet-test-16-${process.pid}`;
    old([...run, '--name', name, image, 'true']);
    assert.deepEqual(old(['rm', '-f', '-v', name]), { code: 0, stdout: `${name}\n`, stderr: '' });
    const again = old(['rm', '-f', '-v', name]);
    assert.equal(again.code, 1);
    assert.match(again.stderr, new RegExp(`No such container: ${name}\n.*failed to remove one or more containers`));
  });

  it('now and then fails to remove what it has just killed, and says why a line before its last', () => {
    const fails = join(scratch, 'rm-fails');
    writeFileSync(fails, 'once\n');
    old([...run, '--name', `katafleet-test-16-${process.pid}`, image, 'true']);
    const words = ['rm', '-f', '-v', `katafleet-test-16-${process.pid}`];
    const { code, stdout, stderr } = old(words, '', { DOCKER16_FAILS: fails });
    assert.deepEqual([code, stdout], [1, '']);
    assert.match(
      stderr,
      /^Error response from daemon: Could not kill running container, cannot remove - \[2\] Container does not exist: container destroyed\ntime=.* msg="Error: failed to remove one or more containers"\n$/,
    );
    assert.equal(old(words, '', { DOCKER16_FAILS: fails }).code, 0);
  });

  it('on its way out has a version without fields and refuses all else', () => {
    const leaving = { DOCKER16_WITHOUT: 'engine' };
    const version = old(['version'], '', leaving);
    assert.equal(version.code, 0);
    assert.match(version.stdout, /^Client version: 1\.6\.2\n(.*\n)+Server version: \nServer API version: \n/);
    const inspected = old(['inspect', 'x'], '', leaving);
    assert.deepEqual(inspected, { code: 1, stdout: '[]\n', stderr: 'Error response from daemon: engine is shutdown' });
    for (const words of [['info'], ['ps', '-a'], ['rm', '-f', 'x'], ['run', image], ['load']]) {
      const { code, stderr } = old(words, '', leaving);
      assert.deepEqual([code, /msg="Error response from daemon: engine is shutdown"/.test(stderr)], [1, true], words[0]);
    }
  });

  it('loads archives in its own layout only, and prints nothing', () => {
    const archive = join(scratch, 'archive.tar');
    const small = 'katafleet-test/docker-16:latest';
    spawnSync('/usr/bin/docker', ['import', '-', small], {
      env: { ...process.env, ...env },
      input: spawnSync('tar', ['-c', '-C', scratch, '.']).stdout,
    });
    real('save', '-o', archive, small);
    const { stdout } = spawnSync('tar', ['-tf', archive], { encoding: 'utf8' });
    if (/blobs\//.test(stdout)) assert.equal(old(['load', '-i', archive]).code, 1);
    else {
      real('rmi', small);
      assert.deepEqual(old(['load', '-i', archive]), { code: 0, stdout: '', stderr: '' });
    }
    real('rmi', small);
    assert.equal(
      spawnSync(
        'sh',
        ['-c', 'mkdir -p oci/blobs/sha256 && echo x >oci/blobs/sha256/ab && echo {} >oci/index.json && tar -cf oci.tar -C oci .'],
        { cwd: scratch },
      ).status,
      0,
    );
    const oci = old(['load'], spawnSync('cat', [join(scratch, 'oci.tar')]).stdout);
    assert.equal(oci.code, 1);
    assert.match(oci.stderr, /open \S+\/blobs\/json: no such file or directory/);
    assert.equal(existsSync(archive), true);
    writeFileSync(join(scratch, 'cut.tar'), spawnSync('head', ['-c', '700', join(scratch, 'oci.tar')]).stdout);
    assert.equal(old(['load', '-i', join(scratch, 'cut.tar')]).code, 1);
  });

  it('says that no daemon runs', () => {
    const stale = join(scratch, 'stale.sock');
    writeFileSync(stale, ''); // as little as a socket that nobody listens on any more
    for (const [socket, says] of [
      [
        `${scratch}/no.sock`,
        /dial unix \S+no\.sock: no such file or directory\. Are you trying to connect to a TLS-enabled daemon without TLS\?/,
      ],
      [stale, /Cannot connect to the Docker daemon\. Is 'docker -d' running on this host\?/],
    ] as const) {
      for (const words of [['info'], ['ps'], ['images'], ['inspect', 'x'], ['rm', '-f', 'x'], ['run', image]]) {
        const { code, stderr } = old(words, 'x', { DOCKER_HOST: `unix://${socket}` });
        assert.equal(code, 1, words[0]);
        assert.match(stderr, says);
      }
    }
    assert.equal(old(['load'], 'x', { DOCKER_HOST: `unix://${stale}` }).code, 1);
    const version = old(['version'], '', { DOCKER_HOST: `unix://${scratch}/no.sock` });
    assert.match(version.stdout, /^Client version: 1\.6\.2\n/);
    assert.doesNotMatch(version.stdout, /Server/);
  });
});
