import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { containers, GateRig, images, installedSupervisor, type RigOptions, type RigRelease, sandboxRun } from '../support/gate.ts';

const releases: readonly RigRelease[] = ['1.6.2', '1.10.3', '1.11.2', '20.10.24'];
const lineFor = (release: RigRelease, image?: string) => sandboxRun(image, release).join(' ');
const without = (line: string, words: string) => {
  assert.ok(`${line} `.includes(` ${words} `), words);
  return `${line} `.replace(` ${words} `, ' ').trimEnd();
};
const mount = `-v ${installedSupervisor}:/.katafleet/supervisor:ro`;
const nobody = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', 'dash'];

/** What the gate of such a node says to a line; `admitted` where it lets it through. */
function says(line: string, options: RigOptions = {}, config: readonly string[] = []): string {
  using rig = new GateRig(config, options);
  const { code, stderr, admitted } = rig.ask(line);
  if (code === 0) assert.deepEqual(admitted, line.split(' ').slice(1));
  return code === 0 ? 'admitted' : stderr.trim();
}

describe('katafleet-gate, of what an engine’s release has', () => {
  it('admits the words of the engine’s own release and of no other', () => {
    for (const engine of releases)
      for (const asked of releases) {
        const answer = says(lineFor(asked), { release: engine });
        if (asked === engine) assert.equal(answer, 'admitted', engine);
        else assert.match(answer, /^katafleet-gate: refused: /, `${asked} on ${engine}`);
      }
  });

  it('tells the release from all that docker version prints, whatever else has a version', () => {
    const modern = [
      'Client: Docker Engine - Community',
      ' Version:           28.2.2',
      'Server: Docker Engine - Community',
      ' Engine:',
      '  Version:          20.10.24+dfsg1',
      ' containerd:',
      '  Version:          1.6.20',
    ];
    const admits = (release: string) => releases.filter((asked) => says(lineFor(asked), { release }) === 'admitted');
    assert.deepEqual(admits(modern.join('\n')), ['20.10.24']);
    assert.deepEqual(admits('Server:\n\tVersion:\t1.9.1\n'), ['1.6.2']);
    for (const [version, expected] of [
      ['1.7.1', '1.6.2'],
      ['1.8.3', '1.6.2'],
      ['1.10.0', '1.10.3'],
      ['1.11.2', '1.11.2'],
      ['1.12.0', '20.10.24'],
      ['17.06.2-ce', '20.10.24'],
      ['18.09.1', '20.10.24'],
    ] as const)
      assert.deepEqual(admits(version), [expected], version);
  });

  it('refuses every run where docker does not say its release', () => {
    for (const release of [
      'Client:\n Version: 20.10.24\n',
      'Server:\n Version: dev\n',
      'Server:\n Version: 20\n',
      'Server version: \n',
      '\n',
      'Server:\n Version: 99999.1\n',
    ])
      for (const asked of releases)
        assert.match(says(lineFor(asked), { release }), /refused: docker version does not say which release/, release);
  });

  it('demands each limit that the release has', () => {
    const modern = lineFor('20.10.24');
    const options = { release: '20.10.24' };
    for (const mandatory of ['--pids-limit 128', '--security-opt no-new-privileges', mount, '--lifetime 600000'])
      assert.match(says(without(modern, mandatory), options), /refused: /, mandatory);
    for (const at of ['/sandbox', '/tmp']) {
      const [tmpfs = ''] = new RegExp(`--tmpfs ${at}:\\S+`).exec(modern) ?? [];
      assert.match(says(without(modern, tmpfs), options), /refused: /, tmpfs);
      for (const change of [
        ['size=33554432,', ''],
        ['size=33554432', 'size=0'],
        ['nr_inodes=4096,', ''],
        ['nr_inodes=4096', 'nr_inodes=0'],
        ['mode=', 'dev,mode='],
        [at, '/etc'],
      ] as const)
        assert.match(says(modern.replace(tmpfs, tmpfs.replace(change[0], change[1])), options), /refused: /, change.join());
    }
    for (const limit of ['0', '-1', '65537'])
      assert.match(says(modern.replace('--pids-limit 128', `--pids-limit ${limit}`), options), /refused: /);
  });

  it('gives CAP_SYS_ADMIN to no sandbox whose engine makes its tmpfs', () => {
    for (const release of ['1.10.3', '20.10.24'] as const) {
      assert.match(says(lineFor(release).replace('DAC_OVERRIDE', 'DAC_OVERRIDE --cap-add SYS_ADMIN'), { release }), /refused: /);
      assert.match(says(`${lineFor(release)} --tmpfs /sandbox=1`, { release }), /refused: .*more than the supervisor needs/);
    }
  });
});

describe('katafleet-gate, of a node’s supervisor and images', () => {
  it('demands the mount of the supervisor where one is installed, and refuses it where none is', () => {
    for (const release of releases) {
      assert.match(
        says(without(lineFor(release), mount), { release }),
        /refused: a sandbox must have this node's supervisor \(\/bin\/sh\) mounted/,
      );
      assert.match(says(lineFor(release), { release, supervisor: false }, ['LOAD=no']), /refused: /);
      assert.equal(says(without(lineFor(release), mount), { release, supervisor: false }, ['LOAD=no']), 'admitted');
    }
  });

  it('runs no loaded image’s own supervisor where a sandbox has CAP_SYS_ADMIN', () => {
    const line = without(lineFor('1.6.2'), mount);
    assert.match(
      says(line, { supervisor: false }),
      /refused: with LOAD=yes, Docker 1\.6\.2 and no supervisor .* any image that is loaded would be root here/,
    );
    assert.equal(says(without(lineFor('1.10.3'), mount), { release: '1.10.3', supervisor: false }), 'admitted');
  });

  it('runs no image with volumes beyond those of a sandbox', () => {
    const line = lineFor('1.6.2', images.voluminous);
    for (const volumes of ['', '"/tmp"', '"/sandbox"', '"/sandbox""/tmp"']) assert.equal(says(line, { volumes }), 'admitted', volumes);
    for (const volumes of ['"/data"', '"/sandbox""/tmp""/var"', '"/sandbox\\"\\"/tmp"', '"/tmp /sandbox"'])
      assert.match(says(line, { volumes }), /refused: the image e0e0\w+ declares volumes of its own: /, volumes);
  });

  it('removes what carries the label, whatever its name', () => {
    assert.match(says('docker rm -f -v katafleet-somebodys'), /refused: the container katafleet-somebodys does not carry the label/);
    assert.match(says(`docker rm -f -v ${containers.foreign}`), /refused: /);
    assert.equal(says('docker rm -f -v katafleet-gone'), 'admitted');
    assert.equal(says('docker rm -f -v katafleet-broken'), 'Cannot connect to the Docker daemon.');
  });
});

describe('katafleet-gate, of its configuration', () => {
  it('closes where there is none', () => {
    using rig = new GateRig();
    rmSync(rig.config);
    for (const line of ['docker version', 'docker load', lineFor('1.6.2'), 'katafleet-gate hello'])
      assert.match(rig.ask(line).stderr, /refused: this node has no \S+gate\.conf: run scripts\/node-setup there/);
    mkdirSync(rig.config);
    assert.match(rig.ask('docker version').stderr, /refused: this node has no /);
  });

  it('closes where its user can’t read it', function () {
    if (process.getuid?.() !== 0 || spawnSync('setpriv', ['--version']).error) return this.skip();
    using rig = new GateRig();
    assert.equal(rig.ask('docker version', { shell: nobody }).stderr.includes('refused'), false, 'the control: it can be read');
    chmodSync(rig.config, 0o600);
    assert.match(
      rig.ask('docker version', { shell: nobody }).stderr,
      /refused: this node's \S+gate\.conf can't be read by nobody: chmod 644 /,
    );
  });

  it('bounds memory and loads nothing where it says nothing', () => {
    using rig = new GateRig();
    writeFileSync(rig.config, `DOCKER=${rig.docker}\nSUPERVISOR=${installedSupervisor}\nLOG=/dev/null\n`);
    assert.match(rig.ask('docker load').stderr, /refused: LOAD=no in .*node-setup --load yes/);
    const line = lineFor('1.6.2');
    assert.equal(rig.ask(line.replaceAll('67108864', '2147483648')).code, 0);
    assert.match(rig.ask(line.replaceAll('67108864', '2147483649')).stderr, /not a number from 16777216 to 2147483648/);
  });
});
