import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { labels } from '../../src/model/labels.ts';
import { profileOf, sandboxLimits } from '../../src/model/profile.ts';
import { runWords } from '../../src/drivers/ssh/flags.ts';
import { parseRelease } from '../../src/drivers/ssh/parse/version.ts';
import { containers, gateQuestions, GateRig, images, installedSupervisor, sandboxRun } from '../support/gate.ts';

const installed = (shell: string) => !spawnSync(shell, ['-c', ':']).error;
const shells = [['dash'], ['bash', '--posix'], ['busybox', 'sh']].filter(([shell = '']) =>
  shell === 'busybox' ? !spawnSync('busybox', ['true']).error : installed(shell),
);
const run = sandboxRun();
const line = run.join(' ');
const mount = `-v ${installedSupervisor}:/.katafleet/supervisor:ro`;
/** The run with one word put in another's place; a place that isn't there is a fault of the test. */
const changed = (from: string, to: string) => {
  assert.ok(`${line} `.includes(`${from} `), from);
  return `${line} `.replace(`${from} `, to === '' ? '' : `${to} `).trimEnd();
};

const admitted = [
  'docker version',
  'docker info',
  'docker images --no-trunc',
  'docker ps -a -q --no-trunc',
  'docker load',
  `docker inspect ${containers.foreign} katafleet-0f3c-1 katafleet/gcc:latest abcdefabcdef gcc host:5000/x/y:V1.0-RC`,
  `docker inspect ${Array.from({ length: 200 }, () => 'e'.repeat(64)).join(' ')}`,
  'docker rm -f -v katafleet-0f3c-1',
  `docker rm -f -v ${containers.ours}`,
  line,
  sandboxRun(images.adapted).join(' '),
  sandboxRun(`sha256:${images.admitted}`).join(' '),
  changed('--cap-add SYS_ADMIN', ''),
  changed('--tmpfs /tmp=33554432', ''),
  changed('--tmpfs /sandbox=33554432 --tmpfs /tmp=33554432 --shm 8388608', ''),
  changed('--net none', '--net none -h sandbox'),
  'docker rm -f -v katafleet-gone',
];

const hostile: Record<string, string[]> = {
  'other images': [
    sandboxRun(images.foreign).join(' '),
    sandboxRun(images.nameless).join(' '),
    sandboxRun('9'.repeat(64)).join(' '),
    sandboxRun('katafleet/gcc').join(' '),
    sandboxRun('debian').join(' '),
    sandboxRun(images.admitted.slice(0, 12)).join(' '),
    sandboxRun(`${images.admitted}a`).join(' '),
    sandboxRun(images.admitted.toUpperCase()).join(' '),
    changed(images.admitted, ''),
    changed(images.admitted, `${images.admitted} ${images.foreign}`),
  ],
  'more than a sandbox may': [
    ...['--privileged', '-v /:/host', '-v /:/sandbox', '-v /var/run/docker.sock:/s', '--volumes-from katafleet-1', '--device /dev/sda'],
    ...['--pid host', '--ipc host', '--net host', '--cap-add ALL', '--cap-add SYS_PTRACE', '--security-opt apparmor:unconfined'],
    ...[
      '-e A=b',
      '--env-file /etc/shadow',
      '-d',
      '-t',
      '--rm',
      '--restart always',
      '-p 1:1',
      '-P',
      '--link a:b',
      '--cidfile /tmp/x',
      '-h x',
    ],
    ...[
      '--lxc-conf a=b',
      '--cgroup-parent /',
      '--add-host a:1',
      '--userns host',
      '--runtime x',
      '--mount type=bind,src=/,dst=/x',
      '--uts host',
    ],
  ].flatMap((words) => [
    changed('--log-driver none', `--log-driver none ${words}`),
    changed('run -i', `run -i ${words}`),
    changed('run -i', `run ${words} -i`),
    `${line} ${words}`,
  ]),
  'mandatory limits left out or changed': [
    changed('-m 67108864 --memory-swap 67108864', ''),
    changed('-m 67108864', ''),
    changed('--memory-swap 67108864', '--memory-swap -1'),
    changed('--memory-swap 67108864', '--memory-swap 67108865'),
    changed('-m 67108864', '-m 0'),
    changed('-m 67108864 --memory-swap 67108864', '-m 0 --memory-swap 0'),
    changed('-m 67108864 --memory-swap 67108864', '-m 64m --memory-swap 64m'),
    changed('-m 67108864 --memory-swap 67108864', '-m 16777215 --memory-swap 16777215'),
    changed('-m 67108864 --memory-swap 67108864', `-m ${'9'.repeat(30)} --memory-swap ${'9'.repeat(30)}`),
    changed('-m 67108864 --memory-swap 67108864', '-m 018446744 --memory-swap 018446744'),
    changed('-m 67108864 --memory-swap 67108864', '-m -67108864 --memory-swap -67108864'),
    changed('-m 67108864 --memory-swap 67108864', '--memory-swap 67108864 -m 67108864'),
    changed('-m 67108864', '-m 67108864 -m 67108864'),
    changed('-m 67108864', '-m=67108864'),
    changed('-m 67108864', '--memory 67108864'),
    changed('-c 1024', ''),
    changed('-c 1024', '-c 0'),
    changed('--ulimit core=1:1', ''),
    changed('--ulimit nofile=1024:1024', '--ulimit nofile=1024:99999999'),
    changed('--ulimit nofile=1024:1024', '--ulimit nproc=1024:1024'),
    changed('--net none', ''),
    changed('--net none', '--net bridge'),
    changed('--net none', '--net none --net host'),
    changed('--net none', '--net=host'),
    changed('--net none', '--net container:x'),
    changed('--read-only', ''),
    changed('--read-only', '--read-only=false'),
    changed('-u 0:0', '-u 0'),
    changed('--cap-drop ALL', ''),
    changed('--cap-drop ALL', '--cap-drop KILL'),
    changed('--cap-add KILL', '--cap-add SYS_MODULE'),
    changed('--cap-add SYS_ADMIN', '--cap-add SYS_ADMIN --cap-add SYS_ADMIN'),
    changed('--log-driver none', ''),
    changed('--log-driver none', '--log-driver json-file'),
    changed('-l katafleet.role=sandbox', ''),
    changed('-l katafleet.role=sandbox', '-l katafleet.role=other'),
    changed('-l katafleet.role=sandbox', '-l katafleet.role=sandbox -l katafleet.role=x'),
    changed('-l katafleet.deadline=1764034372000', '-l com.other=1'),
    changed('-l katafleet.deadline=1764034372000', '-l katafleet.deadline'),
    changed('-l katafleet.deadline=1764034372000', '-l katafleet.'),
    changed('--entrypoint /.katafleet/supervisor', ''),
    changed('--entrypoint /.katafleet/supervisor', '--entrypoint /bin/sh'),
    changed(mount, ''),
    changed(mount, `-v ${installedSupervisor}:/.katafleet/supervisor`),
    changed(mount, '-v /etc:/.katafleet/supervisor:ro'),
    changed(mount, '-v /usr/local/lib/katafleet/supervisor:/.katafleet/supervisor:ro'),
    changed('--lifetime 600000', ''),
    changed('--lifetime 600000', '--lifetime 0'),
    changed('--shm 8388608', '--shm 67108865'),
    changed('--shm 8388608', '--shm -1'),
    changed('--net none', '--net none -h x'),
    changed('--net none', '--net none -h sandbox --add-host sandbox:10.0.0.1'),
    changed('--net none', '--net none -h sandbox --dns 10.0.0.1'),
    changed('--net none', '--net none -h sandbox --shm-size 67108865'),
    changed('--net none', '--net none -h sandbox --ipc host'),
    changed('-v /sandbox', '-v /'),
    changed('-v /sandbox', '-v /etc:/sandbox'),
  ],
  'names of others': [
    ...['x', 'katafleet-', 'katafleet-A', 'katafleet-a_b', 'katafleet-a/b', '/katafleet-a', 'xkatafleet-a', `katafleet-${'a'.repeat(90)}`],
  ].flatMap((name) => [changed('katafleet-0f3c-1', name), `docker rm -f -v ${name}`]),
  removals: [
    `docker rm -f -v ${containers.foreign}`,
    `docker rm -f -v ${containers.ours.slice(0, 12)}`,
    'docker rm -f -v katafleet-somebodys',
    'docker rm -f -v katafleet-a katafleet-b',
    `docker rm -f -v katafleet-a ${containers.foreign}`,
    'docker rm -f katafleet-a',
    'docker rm -v -f katafleet-a',
    'docker rm -f -v',
    'docker rm katafleet-a',
    'docker rmi katafleet/gcc',
  ],
  'arguments that are not the supervisor’s': [
    ...[
      'sh',
      '-c id',
      '/bin/sh',
      '--lifetime',
      '--lifetime x',
      '--lifetime /etc',
      '--lifetime 1 2',
      '--sandbox /etc',
      '--sandbox /sandbox/../etc',
      '-- 1',
    ],
    ...['--Lifetime 1', '---x 1', '-x 1', '--lifetime=1', '--tmpfs /etc=1', '--tmpfs /sandbox=/etc', '--tmpfs /tmp/x=1'],
  ].map((words) => `${line} ${words}`),
  'other verbs': [
    ...[
      'exec -i katafleet-a sh',
      'cp katafleet-a:/etc/passwd -',
      'build -',
      'build -q --force-rm -t katafleet/adapted:0 -',
      'commit a katafleet/x',
    ],
    ...[
      'save debian',
      'export x',
      'import -',
      'pull x',
      'push x',
      'tag a b',
      'start x',
      'stop x',
      'kill x',
      'attach x',
      'logs x',
      'events',
      'top x',
    ],
    ...[
      'login',
      'create x',
      'restart x',
      'rename a b',
      'update x',
      'swarm init',
      'service create x',
      'network ls',
      'volume rm x',
      'system dial-stdio',
    ],
    ...['plugin install x', 'context ls', 'container run x', 'image rm x', '', '-v', '--help', '-D version', '--config /tmp version'],
    ...['-H tcp://10.0.0.1:2375 version', '-H=unix:///x version', '--host unix:///x info', '--tls version', 'run', 'RUN', 'run --help'],
  ].map((words) => `docker ${words}`.trimEnd()),
  'verbs with more than theirs': [
    ...[
      'version -f x',
      'version x',
      'info x',
      'images',
      'images -a --no-trunc',
      'images --no-trunc x',
      'ps',
      'ps -a',
      'ps -a -q --no-trunc x',
    ],
    ...[
      'ps -a -q --no-trunc -f a=b',
      'load -i /etc/shadow',
      'load x',
      'inspect',
      'inspect -f x y',
      'inspect --type=x y',
      'inspect --format x',
      'inspect A',
      'inspect A:a',
      'inspect a/B',
    ],
    ...[
      'inspect -',
      'inspect a -f',
      `inspect ${Array.from({ length: 201 }, () => 'e'.repeat(64)).join(' ')}`,
      `inspect ${'a'.repeat(256)}`,
    ],
  ].map((words) => `docker ${words}`),
  'what a shell would unpack': [
    ...[
      '$(id)',
      '`id`',
      ';id',
      '; id',
      '|id',
      '&',
      '&& id',
      '>x',
      '<x',
      '${IFS}',
      '$IFS',
      '*',
      '?',
      '[a]',
      '~',
      '{a,b}',
      '!',
      '#',
      '(',
      ')',
    ],
    ...[
      "'",
      '"',
      '\\',
      '\\ ',
      '\t',
      '\n',
      '\r',
      '\nid',
      '\r\n',
      '\x01',
      '\x1b[31m',
      '\x7f',
      '\u00a0',
      '\u2028',
      'é',
      '💥',
      '\ud800',
      '\v',
      '\f',
    ],
  ].flatMap((bytes) => [
    `docker version${bytes}`,
    `docker inspect katafleet-a${bytes}`,
    changed('katafleet-0f3c-1', `katafleet-a${bytes}`),
    `katafleet-gate hello${bytes}`,
  ]),
  'other spacing': [' docker version', 'docker version ', 'docker  version', line.replace(' -m', '  -m'), ' ', '  '],
  'other commands': [
    ...[
      'id',
      'sh',
      '/bin/sh -i',
      'scp -t /tmp',
      'rsync --server -e.Lsfx . /',
      'internal-sftp',
      '/usr/lib/openssh/sftp-server',
      'sudo docker version',
    ],
    ...[
      '/usr/bin/docker version',
      'dockerversion',
      'docker-compose up',
      'Docker version',
      './docker version',
      'env docker version',
      'katafleet-gate',
    ],
    ...[
      'katafleet-gate hello x',
      'katafleet-gate --config /tmp/x',
      'command docker version',
      'A=b docker version',
      'exec docker version',
      '-',
      '--',
      '-c id',
    ],
  ],
  'lines of great length': [
    `docker inspect ${'a'.repeat(40_000)}`,
    'a '.repeat(30_000).trimEnd(),
    `${line} ${'-l katafleet.a=b '.repeat(2_500).trimEnd()}`,
  ],
};

/** What the ssh driver says for a sandbox on a node of a release. */
const driven = (version: string, supervisor?: string) =>
  runWords(
    {
      image: { name: 'gcc', id: `sha256:${images.admitted}`, volumes: [] },
      name: 'fleet-0f3c-12',
      limits: sandboxLimits(profileOf({ cpus: 0.05, openFiles: 16 })),
      labels: { [labels.role]: 'sandbox', [labels.owner]: 'host/1 ~ ü%', [labels.recipeHash]: '' },
      idleMs: 600_000,
    },
    { release: parseRelease(version), installedSupervisor: supervisor },
  ).join(' ');

describe('katafleet-gate', () => {
  it('lets through what the ssh driver sends to nodes of every age', () => {
    for (const version of ['1.6.2', '1.7.1', '1.8.3', '1.9.1', '1.10.3', '1.11.2', '1.13.1', '17.06.2-ce', '18.03.1-ce', '20.10.24+dfsg1'])
      for (const supervisor of [true, false]) {
        using rig = new GateRig(['LOAD=no'], { release: version, supervisor });
        const call = driven(version, supervisor ? installedSupervisor : undefined);
        const { stderr, admitted: words } = rig.ask(call);
        assert.deepEqual([stderr, call.split(' ').slice(1)], ['', words], version);
      }
  });

  for (const shell of shells) {
    it(`lets katafleet’s own calls through word for word (${shell.join(' ')})`, () => {
      using rig = new GateRig();
      for (const call of admitted) {
        const verdict = rig.ask(call, { shell });
        assert.equal(verdict.code, 0, `${call}: ${verdict.stderr}`);
        assert.deepEqual(verdict.admitted, call.split(' ').slice(1));
        assert.equal(verdict.logged, '');
      }
    });

    for (const [what, lines] of Object.entries(hostile)) {
      it(`refuses ${what} (${shell.join(' ')})`, () => {
        using rig = new GateRig();
        for (const call of lines) {
          const { code, stderr, stdout, calls, logged } = rig.ask(call, { shell });
          const shown = JSON.stringify(call.slice(0, 300));
          assert.equal(code, 126, `${shown}: ${stderr}`);
          assert.match(stderr, /^katafleet-gate: refused: [ -~]+\n$/, shown);
          assert.match(logged, /^[ -~]*refused: [ -~]+\n$/, shown);
          assert.equal(stdout, '', shown);
          const own = calls.filter((words) => !gateQuestions.test(words.join(' ')));
          assert.deepEqual(own, [], shown);
        }
      });
    }
  }

  it('refuses a login without a command', () => {
    using rig = new GateRig();
    assert.equal(rig.ask(undefined).code, 126);
    assert.equal(rig.ask('').code, 126);
  });

  it('says what it is, whether a supervisor is there, and what may run', () => {
    using rig = new GateRig(['IMAGES=katafleet/* cyberdojo/*']);
    const { code, stdout, calls } = rig.ask('katafleet-gate hello');
    assert.equal(code, 0);
    assert.match(stdout, /^katafleet-gate 1\nsupervisor [0-9a-f]{64} \/bin\/sh\nimages katafleet\/\* cyberdojo\/\*\nload yes\n$/);
    assert.deepEqual(calls, []);
  });

  it('hands docker an environment of its own, whatever it was started with', () => {
    using rig = new GateRig();
    const environment = {
      PATH: '/tmp/evil',
      DOCKER_HOST: 'tcp://10.0.0.1:2375',
      DOCKER_CONFIG: '/tmp',
      DOCKER_CONTEXT: 'other',
      HOME: '/tmp',
      ENV: '/tmp/evil',
      BASH_ENV: '/tmp/evil',
      IFS: '/',
      LC_ALL: 'C.UTF-8',
      GODEBUG: 'x',
      HTTP_PROXY: 'http://10.0.0.1',
      IMAGES: '*',
      DOCKER: '/bin/sh',
      LOAD: 'yes',
      word: 'x',
      rest: 'x',
      'BASH_FUNC_docker%%': '() { touch /tmp/evil; }',
    };
    for (const shell of shells.filter(([name]) => name !== 'busybox').map((words) => [...words])) {
      const absolute = [`/bin/${shell[0] ?? 'sh'}`, ...shell.slice(1)];
      const verdict = rig.ask(line, { shell: absolute, environment });
      assert.equal(verdict.code, 0, verdict.stderr);
      assert.deepEqual(verdict.environment.filter((entry) => !/^(PWD|OLDPWD|SHLVL|_)=/.test(entry)).sort(), [
        'HOME=/nonexistent',
        'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
      ]);
      assert.equal(rig.ask(sandboxRun(images.foreign).join(' '), { shell: absolute, environment }).code, 126);
    }
  });

  it('keeps to the node’s own bounds', () => {
    using small = new GateRig(['MAX_MEMORY=67108863']);
    assert.match(small.ask(line).stderr, /memory limit is '67108864', not a number from 16777216 to 67108863/);
    using full = new GateRig(['MAX_CONTAINERS=3'], { sandboxes: 3 });
    assert.match(full.ask(line).stderr, /there are 3 sandboxes here/);
    using room = new GateRig(['MAX_CONTAINERS=3'], { sandboxes: 2 });
    assert.equal(room.ask(line).code, 0);
    using closed = new GateRig(['LOAD=no']);
    assert.match(closed.ask('docker load').stderr, /LOAD=no/);
    using narrow = new GateRig(['IMAGES=katafleet/adapted']);
    assert.match(narrow.ask(line).stderr, /of katafleet\/gcc, not among what may run here: katafleet\/adapted/);
    assert.equal(narrow.ask(sandboxRun(images.adapted).join(' ')).code, 0);
  });

  it('refuses all with a configuration that it doesn’t understand, and never executes it', () => {
    for (const wrong of ['IMAGE=x', 'MAX_MEMORY=2g', 'MAX_CONTAINERS=', 'LOAD=maybe', 'DOCKER=docker', '$(touch /tmp/evil)', 'rm -rf /']) {
      using rig = new GateRig([wrong]);
      assert.match(rig.ask('docker version').stderr, /refused: this node's .*gate\.conf is wrong at/);
    }
  });

  it('says that docker is not installed, and passes on what docker says', () => {
    using rig = new GateRig(['DOCKER=/nonexistent/docker']);
    const { code, stderr } = rig.ask('docker version');
    assert.deepEqual([code, stderr], [127, 'katafleet-gate: docker is not installed on this node\n']);
    using broken = new GateRig(['DOCKER=/bin/false']);
    assert.deepEqual([broken.ask('docker version').code, broken.ask(line).code], [1, 1]);
  });
});
