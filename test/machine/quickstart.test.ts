import assert from 'node:assert/strict';
import type { Machine } from '../support/machine.ts';
import { clone, katafleet, newcomer, quickstart } from '../support/newcomer.ts';

const hour = 3_600_000;

describe('a newcomer on an ordinary machine', function () {
  this.timeout(3 * hour);
  let machine: Machine;
  before(async () => (machine = await newcomer()));

  it('has a machine with systemd, cgroup v2 alone, AppArmor and cloud-init, which came up without a unit thrown out', async () => {
    assert.equal(
      (await machine.sh('cat /proc/1/comm; stat -f -c %T /sys/fs/cgroup; cat /sys/module/apparmor/parameters/enabled')).trim(),
      'systemd\ncgroup2fs\nY',
    );
    assert.match(await machine.sh('cloud-init status --wait || true'), /status: done/);
    assert.equal(await machine.sh('journalctl -b --no-pager | grep -i "ordering cycle" || true'), '');
  });

  it('gets from a clone to red, amber and green as root, with the Node of apt, and an engine that is installed', async () => {
    const { code, stdout, stderr } = await quickstart();
    assert.equal(code, 0, stderr);
    for (const light of ['red', 'amber', 'green']) assert.match(stderr + stdout, new RegExp(`● ${light}`));
    assert.match(stderr, /Red, amber, green: katafleet works/);
    assert.match(stderr, /katafleet is on your PATH: .* To undo this: rm \/usr\/local\/bin\/katafleet/);
    assert.match(await machine.sh('cd / && katafleet --version'), /^\d+\.\d+\.\d+\n$/);
    assert.equal((await machine.sh('systemctl is-active docker')).trim(), 'active');
    assert.match(await machine.sh('node --version; command -v node'), /^v20\.[^\n]*\n\/usr\/bin\/node\n$/);
  });

  it('gets there as a user in the group docker as well, is told that all is well, and has a clean work tree', async () => {
    await machine.sh(`
      id -u alice >/dev/null 2>&1 || adduser --quiet --disabled-password --comment '' alice
      usermod -aG docker alice
      mkdir -p /home/alice/.ssh && cp /root/.ssh/authorized_keys /home/alice/.ssh/
      [ -d /home/alice/katafleet ] || cp -a ${clone} /home/alice/katafleet
      chown -R alice:alice /home/alice`);
    const { code, stderr } = await machine.on(['bash', '-c', 'cd katafleet && scripts/quickstart'], {
      user: 'alice',
      told: process.stderr,
    });
    assert.equal(code, 0, stderr);
    assert.match(stderr, /Red, amber, green: katafleet works/);
    const [, typed = ''] = /to have katafleet on your PATH, in this shell: (export PATH=.*)/.exec(stderr) ?? [];
    assert.match(
      await machine.sh(`${typed}\n[ "$(command -v katafleet)" = ~/katafleet/bin/katafleet ] && katafleet doctor`, 'alice'),
      /katafleet can run here\n$/,
    );
    assert.equal(await machine.sh('cd katafleet && git status --porcelain', 'alice'), '');
  });

  it("builds katafleet's own image on the release of the machine, with the Node that apt has", async () => {
    const { code, stdout, stderr } = await katafleet(machine, 'images', 'build', 'katafleet');
    assert.equal(code, 0, stdout + stderr);
    const list = JSON.parse((await katafleet(machine, 'images', 'list', '--json')).stdout) as { name: string; built: boolean }[];
    assert.ok(list.find(({ name }) => name === 'katafleet')?.built);
  });
});
