import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createReadStream } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { type ErrorCode, KatafleetError } from '../../src/model/errors.ts';
import { SshDriver } from '../../src/drivers/ssh/driver.ts';
import type { SshSettings } from '../../src/drivers/transport/target.ts';
import { SshTransport } from '../../src/drivers/transport/transport.ts';
import { sshFleet, sshNode } from '../support/ssh-fleet.ts';
import { Testbed } from '../support/testbed.ts';

const execute = promisify(execFile);

describe('what keeps a node over ssh from serving is told apart, and what mends it', function () {
  this.timeout(240_000);
  let bed: Testbed;
  let folder: string;
  before(async () => {
    bed = await Testbed.up({ hosts: 1 });
    await bed.useOldDocker('h1');
    folder = await mkdtemp(join(tmpdir(), 'katafleet-ssh-'));
  });
  after(async () => {
    await bed?.down();
    if (folder) await rm(folder, { recursive: true });
  });

  async function refused(code: ErrorCode, about: RegExp, endpoint = bed.sshEndpoint('h1'), settings: SshSettings = {}): Promise<void> {
    const driver = new SshDriver(new SshTransport(endpoint, { config: bed.sshConfig, ...settings }));
    try {
      await assert.rejects(driver.probe(), (error) => {
        assert.ok(error instanceof KatafleetError, String(error));
        assert.equal(error.code, code, error.message);
        assert.match(error.message, about);
        assert.ok(error.hint !== undefined && error.hint.length > 10, 'it says what to do');
        return true;
      });
    } finally {
      driver.close();
    }
  }

  const serves = async () => {
    const driver = new SshDriver(new SshTransport(bed.sshEndpoint('h1'), { config: bed.sshConfig }));
    assert.equal((await driver.probe()).engineVersion, '1.6.2');
    driver.close();
  };
  beforeEach(serves);

  it('a host key that is not known', async () => {
    const knownHosts = join(folder, 'known none');
    await writeFile(knownHosts, '');
    await refused('ssh.host_key', /is not known here/, undefined, { knownHosts });
  });

  it('a host key that has changed', async () => {
    const key = join(folder, 'another-host');
    await execute('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', key]);
    const address = /HostName (\S+)/.exec(await readFile(bed.sshConfig, 'utf8'))?.[1] ?? '';
    const knownHosts = join(folder, 'known changed');
    await writeFile(knownHosts, `${address} ${(await readFile(`${key}.pub`, 'utf8')).split(' ').slice(0, 2).join(' ')}\n`);
    await refused('ssh.host_key', /differs from the known one/, undefined, { knownHosts });
  });

  it('a user that is not there, and a key that is not let in', async () => {
    await refused('ssh.refused', /no such user, or that user's authorized_keys lack katafleet's key/, 'ssh://nobody-here@h1');
    const identity = join(folder, 'stranger');
    await execute('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', identity]);
    const config = join(folder, 'config');
    await writeFile(config, (await readFile(bed.sshConfig, 'utf8')).replace(/^ *IdentityFile.*\n/m, ''));
    await refused('ssh.refused', /Permission denied/, undefined, { config, identity });
  });

  it('a name that leads nowhere', async () => {
    await refused('engine.unreachable', /no host has the name/, 'ssh://test-runner@no-such-host.invalid', { config: '/dev/null' });
  });

  it('no ssh server', async () => {
    await bed.sh('h1', 'sh', '-c', 'while pids=$(pidof sshd); do kill -9 $pids || :; done');
    try {
      await refused('engine.unreachable', /no ssh server listens/);
    } finally {
      await bed.do('start-sshd', 'h1');
    }
  });

  it('a cable that is cut', async () => {
    await bed.do('cut', 'h1');
    try {
      await refused('engine.unreachable', /does not answer/);
    } finally {
      await bed.do('heal', 'h1');
    }
  });

  it('a user outside the group docker; once it is in, the same driver serves', async () => {
    const file = bed.path('h1', '/etc/group');
    const groups = await readFile(file, 'utf8');
    await writeFile(file, groups.replace(/^(docker:.*:)test-runner$/m, '$1'));
    const driver = new SshDriver(new SshTransport(bed.sshEndpoint('h1'), { config: bed.sshConfig }));
    try {
      await assert.rejects(
        driver.probe(),
        (error) => error instanceof KatafleetError && error.code === 'engine.permission' && /usermod/.test(error.hint ?? ''),
      );
    } finally {
      await writeFile(file, groups);
    }
    assert.equal((await driver.probe()).engineVersion, '1.6.2');
    driver.close();
  });

  it('no docker', async () => {
    const config = bed.path('h1', '/etc/ssh/sshd_config');
    const before = await readFile(config, 'utf8');
    const reload = async () => {
      // It takes its file away when it listens no more: only then is its port free.
      await bed.sh('h1', 'sh', '-c', 'kill $(cat /run/sshd.pid) && while [ -e /run/sshd.pid ]; do sleep 0.02; done');
      await bed.do('start-sshd', 'h1');
    };
    await writeFile(config, `${before}SetEnv PATH=/usr/local/lib/empty\n`);
    await reload();
    try {
      await refused('docker.missing', /docker is not installed/);
    } finally {
      await writeFile(config, before);
      await reload();
    }
  });

  it('no docker daemon', async () => {
    await bed.do('kill-engine', 'h1');
    try {
      await refused('engine.unreachable', /answers over ssh, but no docker daemon runs/);
    } finally {
      await bed.do('start-engine', 'h1');
    }
  });

  it('a kernel without memory limits, or without swap limits', async () => {
    await mkdir(bed.path('h1', '/etc/docker-1.6'));
    for (const [missing, about] of [
      ['memory', /no memory cgroup/],
      ['swap', /does not account for swap/],
    ] as const) {
      const flag = bed.path('h1', `/etc/docker-1.6/without-${missing}`);
      await writeFile(flag, '');
      await assert.rejects(
        sshFleet([sshNode(bed, 'h1')]),
        (error) =>
          error instanceof KatafleetError && error.code === 'engine.limits' && about.test(error.message) && error.hint !== undefined,
      );
      await using waived = await sshFleet([sshNode(bed, 'h1', { withoutMemoryLimits: true })]);
      assert.equal(waived.fleet.all[0]?.state, 'ready');
      await rm(flag);
    }
  });

  it('a disk that is full while an image is loaded', async () => {
    const archive = join(folder, 'image.tar');
    await execute('docker', ['-H', `unix://${bed.socket('h1')}`, 'save', '-o', archive, 'katafleet/debian:bookworm']);
    const driver = new SshDriver(new SshTransport(bed.sshEndpoint('h1'), { config: bed.sshConfig }));
    await bed.sh('h1', 'mount', '-t', 'tmpfs', '-o', 'size=1m', 'none', '/var/lib/docker/tmp');
    try {
      await assert.rejects(driver.importImage(createReadStream(archive)), (error) => {
        assert.ok(error instanceof KatafleetError, String(error));
        assert.equal(error.code, 'engine.disk_full', error.message);
        return true;
      });
    } finally {
      await bed.sh('h1', 'umount', '/var/lib/docker/tmp');
      driver.close();
    }
  });
});
