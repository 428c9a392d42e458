import assert from 'node:assert/strict';
import type { Machine } from '../support/machine.ts';
import { clone, node as aNode, server as aServer } from '../support/newcomer.ts';

const hour = 3_600_000;

describe('the set-up scripts on ordinary machines, through a power cut', function () {
  this.timeout(3 * hour);
  let server: Machine;
  let node: Machine;
  before(async () => {
    server = await aServer();
    node = await aNode();
  });

  const address = async (machine: Machine) => (await machine.sh('hostname -I')).split(' ')[0] ?? '';
  /** What systemd threw out at this boot to break a cycle, and what failed. */
  const troubles = async (machine: Machine) =>
    (
      await machine.sh(
        'journalctl -b --no-pager | grep -iE "ordering cycle|deleted to break" || true; systemctl --failed --plain --no-legend',
      )
    ).trim();

  it('rsync-setup: the daemon answers after boot, on the interface of the containers alone', async () => {
    await server.sh('mkdir -p /srv/katas/one && echo "kata one" > /srv/katas/one/file && chown -R www-data /srv/katas');
    await server.sh(`${clone}/scripts/rsync-setup --katas /srv/katas`);
    await server.cutPower();
    assert.equal(await troubles(server), '');
    await server.sh(`${clone}/scripts/rsync-setup --check`);
    const fetch = `RSYNC_PASSWORD=$(sed -n 's/^cyber-dojo://p' /etc/rsyncd.secrets) rsync --address=127.0.0.1 rsync://cyber-dojo@172.17.0.1/katas/one/file /tmp/fetched && cat /tmp/fetched`;
    assert.equal(await server.sh(fetch), 'kata one\n');
    assert.match(await server.sh('ss -Hltn sport = :873'), /^\S+ +\d+ +\d+ +172\.17\.0\.1:873 [^\n]*\n$/);
    const again = await server.sh(`${clone}/scripts/rsync-setup --katas /srv/katas`);
    assert.doesNotMatch(again, /^\+ /m);
  });

  it('node-setup: the firewall is up after boot, started by systemd beside cloud-init, and no unit is thrown out', async () => {
    const [at, to] = [await address(server), await address(node)];
    await node.sh('mkdir -p /root/setup/lib');
    await node.put(['scripts/node-setup', 'scripts/node', 'images/supervisor/build/amd64/supervisor'], '/root/setup');
    await node.put(['scripts/lib/changes.sh'], '/root/setup/lib');
    await server.sh(`ssh-keyscan -T 60 -t ed25519 ${to} 2>/dev/null | cut -d" " -f2,3 > /tmp/node.pub; test -s /tmp/node.pub`);
    await server.sh(`cd ${clone} && sh scripts/server-setup --node ${to} --host-key /tmp/node.pub`);
    const key = await server.sh('cat ~test-runner/.ssh/id_ed25519.pub');
    // This machine is the administrator, who must get in after the power cut.
    const words = ['sh', '/root/setup/node-setup', '--server', at, '--admin', '10.89.0.1', '--key', '-'];
    const made = await node.on(words, { input: key });
    assert.equal(made.code, 0, made.stderr);
    assert.equal((await node.sh('systemctl is-active katafleet-firewall')).trim(), 'active');
    await node.cutPower();
    assert.equal(await troubles(node), '');
    assert.equal((await node.sh('systemctl is-active katafleet-firewall cloud-init-network')).trim(), 'active\nactive');
    assert.match(await node.sh('iptables-save'), /katafleet/i);
    const through = `sudo -u www-data sudo -n -u test-runner ssh -o BatchMode=yes test-runner@${to} docker version`;
    assert.match(await server.sh(through), /Server/);
    await server.sh(`ip addr add 10.89.0.99/24 dev vec0 || true`);
    assert.notEqual((await server.on(['nc', '-s', '10.89.0.99', '-z', '-w', '5', to, '22'])).code, 0);
    assert.equal((await server.on(['nc', '-s', at, '-z', '-w', '5', to, '22'])).code, 0);
  });

  it('undo leaves nothing, and nothing that systemd still knows', async () => {
    await node.sh('sh /root/setup/node-setup --undo');
    assert.equal(
      await node.sh('systemctl list-units --all --plain --no-legend "katafleet*"; iptables-save | grep -i katafleet || true'),
      '',
    );
    assert.notEqual((await node.on(['id', 'test-runner'])).code, 0);
    await server.sh(`cd ${clone} && sh scripts/server-setup --undo && scripts/rsync-setup --undo`);
    assert.equal(await server.sh('ss -Hltn sport = :873; ls -A /etc/katafleet 2>/dev/null || true'), '');
    assert.notEqual((await server.on(['systemctl', 'is-enabled', 'rsync'])).stdout.trim(), 'enabled');
  });
});
