import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { command } from '../support/command.ts';
import { copyScripts, must, setUp } from '../support/node-setup.ts';
import { type Said, said } from '../support/said.ts';
import { Testbed } from '../support/testbed.ts';

describe('katafleet doctor, of nodes over ssh', function () {
  this.timeout(360_000);
  let bed: Testbed;
  const scratch = mkdtempSync(join(tmpdir(), 'katafleet-doctor-'));
  const [key, config] = [join(scratch, 'key'), join(scratch, 'ssh_config')];

  before(async () => {
    assert.equal(said('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', key]).code, 0);
    bed = await Testbed.up({ hosts: 2 });
    writeFileSync(config, readFileSync(bed.sshConfig, 'utf8').replace(/IdentityFile .*/, `IdentityFile ${key}`));
    copyScripts(bed, 'h1');
    for (const host of bed.hosts) await bed.useOldDocker(host);
    const { code, stderr } = setUp(bed, 'h1', 'node-setup', ['--key', '-', '--server', bed.server], {
      input: readFileSync(`${key}.pub`, 'utf8'),
    });
    assert.equal(code, 0, stderr);
  });
  after(async () => {
    await bed?.down();
    rmSync(scratch, { recursive: true, force: true });
  });

  /** What doctor says of a fleet of one node over ssh. */
  function doctor(
    ssh: object = { config },
    {
      endpoint = 'ssh://h1',
      node = {},
      env = {},
      more = {},
    }: { endpoint?: string; node?: object; env?: NodeJS.ProcessEnv; more?: object } = {},
  ): Said {
    const file = join(scratch, 'katafleet.yaml');
    writeFileSync(
      file,
      stringify({ nodes: [{ name: 'old', endpoint, ssh, ...node }], journal: { file: join(scratch, 'journal') }, ...more }),
    );
    return said(command[0], [...command.slice(1), '--config', file, 'doctor'], {
      env: { NO_COLOR: '1', DOCKER_HOST: 'unix:///nonexistent', SSH_AUTH_SOCK: '', ...env },
    });
  }

  it('finds a node that is set up as docs/legacy.md says', () => {
    const { code, stdout, stderr } = doctor();
    assert.equal(code, 0, stdout + stderr);
    for (const step of [
      `✓ old: the key ${key} is there`,
      `✓ old: the host key of ${bed.address('h1')} is in `,
      '✓ old: ssh reaches h1',
      '✓ old: its gate answers (katafleet-gate 1)',
      '✓ old: docker 1.6.2 (client 1.6.2): ',
      '✓ old: memory limits are enforced',
      '✓ old: swap limits are enforced',
      '! old: its docker has no seccomp',
      '✓ old: its gate loads no images (LOAD=no)',
      '✓ old: the probe took ',
      '✓ old: image build-essential is there',
      `✓ the journal can be written (${join(scratch, 'journal')})`,
      'katafleet can run here',
    ])
      assert.ok(stdout.includes(step), `${step}\n${stdout}`);
    assert.match(stdout, /✓ old: the supervisor [0-9a-f]{12} is installed/);
    assert.doesNotMatch(stdout, /image katafleet /, 'it is no image for runs');
    assert.doesNotMatch(stdout, /engine|unreachable/, 'no engine is asked for that isn’t in the configuration');
  });

  it('prints each missing step, and the command that solves it', async () => {
    const bad = (answer: Said, ...says: RegExp[]) => {
      assert.equal(answer.code, 1, answer.stdout);
      for (const one of says) assert.match(answer.stdout, one);
      assert.match(answer.stdout, /1 problem to solve before katafleet can run here/);
    };
    const empty = join(scratch, 'empty');
    writeFileSync(empty, '');
    bad(doctor({ config, knownHosts: empty }), /✗ old: no host key of \S+ is known\n +scripts\/server-setup --node h1/);
    const keyless = join(scratch, 'keyless');
    writeFileSync(keyless, readFileSync(config, 'utf8').replace(key, join(scratch, 'nokey')));
    bad(doctor({ config: keyless }), /✗ old: no key: none of \S+nokey is there\n +scripts\/server-setup/);
    bad(doctor({ as: 'nosuchuser' }), /✗ old: ssh can't be called as nosuchuser \(.*\)\n +scripts\/server-setup/);
    bad(doctor({ config }, { endpoint: `ssh://nobody@h1` }), /✗ old: nobody@h1 refuses the login/);

    const lacking = bed.path('h1', '/etc/docker-1.6');
    mkdirSync(lacking);
    writeFileSync(join(lacking, 'without-swap'), '');
    bad(doctor(), /✗ old: swap limits are not enforced by this kernel\n +boot with swapaccount=1\n/);
    assert.equal(doctor({ config }, { node: { withoutMemoryLimits: true } }).code, 0, 'its configuration says that it may serve so');
    rmSync(lacking, { recursive: true });

    // No ssh connection is made within a tenth of a second and answers three questions.
    bad(
      doctor({ config }, { more: { health: { timeout: '50ms' } } }),
      /✗ old: the probe took \d+ ms, and the fleet waits 100 ms, twice health\.timeout/,
    );
    assert.equal(setUp(bed, 'h1', 'node-setup', ['--load', 'yes']).code, 0);
    assert.match(doctor().stdout, /! old: its gate loads images \(LOAD=yes\)[^]*node-setup --load no/);
    const gate = bed.path('h1', '/usr/local/lib/katafleet/katafleet-gate');
    const current = readFileSync(gate, 'utf8');
    writeFileSync(gate, current.replace(/\\nload %s/, ''));
    assert.match(doctor().stdout, /! old: its gate is an older one: a client with the key can become root there\n +scripts\/node-setup/);
    writeFileSync(gate, current);

    const supervisor = bed.path('h1', '/usr/local/lib/katafleet/supervisor');
    const own = readFileSync(supervisor);
    writeFileSync(supervisor, 'another');
    bad(doctor(), /✗ old: another supervisor is installed: [0-9a-f]{12} instead of [0-9a-f]{12}\n +scripts\/node-setup/);
    rmSync(supervisor);
    assert.match(doctor().stdout, /! old: no supervisor is installed/);
    writeFileSync(supervisor, own);

    must(bed, 'h1', ['gpasswd', '-d', 'test-runner', 'docker']);
    bad(doctor(), /✗ old: h1 may not use docker: the user is not in the group docker there\n +on the node: usermod/);
    must(bed, 'h1', ['usermod', '-a', '-G', 'docker', 'test-runner']);
    await bed.do('kill-engine', 'h1');
    bad(doctor(), /✗ old: h1 answers over ssh, but no docker daemon runs there\n +start it/);
    await bed.do('start-engine', 'h1');
    await bed.do('kill-sshd', 'h1');
    bad(doctor(), /✗ old: h1 is there, but no ssh server listens/);
    await bed.do('start-sshd', 'h1');
    assert.equal(doctor().code, 0);
  });

  it('warns of a node without a gate, and lets it serve', () => {
    const { code, stdout } = doctor({ config: bed.sshConfig }, { endpoint: 'ssh://h2' });
    assert.equal(code, 0, stdout);
    assert.match(stdout, /! old: no gate: a client with the key is root there\n +scripts\/node-setup on the node/);
  });
});
