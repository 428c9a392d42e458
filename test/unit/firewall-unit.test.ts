import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const unit = readFileSync(fileURLToPath(new URL('../../scripts/node/katafleet-firewall.service', import.meta.url)), 'utf8');
const own = 'DefaultDependencies=no';

/** As cloud-init 25 of Debian and ifupdown have them, as far as their order goes. */
const others = {
  'cloud-init-network.service': `[Unit]\n${own}\nWants=networking.service\nAfter=networking.service\nBefore=sysinit.target shutdown.target\nConflicts=shutdown.target\n`,
  'networking.service': `[Unit]\n${own}\nWants=network.target\nAfter=local-fs.target network-pre.target\nBefore=shutdown.target network.target\nConflicts=shutdown.target\n`,
};

/** What systemd says to a boot into multi-user.target with the firewall's unit beside cloud-init's. */
function verify(firewall: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'katafleet-units-'));
  try {
    for (const [name, text] of Object.entries({ ...others, 'katafleet-firewall.service': firewall }))
      writeFileSync(
        join(folder, name),
        text.includes('[Service]')
          ? text.replace(/\/usr\/local\/\S+ \w+/g, '/bin/true')
          : `${text}[Service]\nType=oneshot\nExecStart=/bin/true\n`,
      );
    for (const [target, name] of [
      ['sysinit.target', 'cloud-init-network.service'],
      ['multi-user.target', 'katafleet-firewall.service'],
    ] as const) {
      mkdirSync(join(folder, `${target}.wants`));
      symlinkSync(`../${name}`, join(folder, `${target}.wants`, name));
    }
    const { stdout, stderr, error } = spawnSync('systemd-analyze', ['verify', '--man=no', '--generators=no', 'multi-user.target'], {
      encoding: 'utf8',
      env: { PATH: process.env['PATH'], SYSTEMD_UNIT_PATH: `${folder}:/usr/lib/systemd/system:/lib/systemd/system` },
    });
    if (error) throw error;
    return stdout + stderr;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

describe('the unit of a node’s firewall', () => {
  it('is up before the network, and waits for nothing that waits for the network', () => {
    const [, words = ''] = /\[Unit\]\n([^[]+)/.exec(unit) ?? [];
    for (const line of [own, 'Before=network-pre.target shutdown.target', 'Conflicts=shutdown.target', 'Wants=network-pre.target'])
      assert.ok(words.split('\n').includes(line), line);
    assert.match(words, /^After=local-fs\.target systemd-modules-load\.service /m);
  });

  it('makes no circle with cloud-init, by systemd’s own word', function () {
    if (spawnSync('systemd-analyze', ['--version']).error) return this.skip();
    assert.doesNotMatch(verify(unit), /katafleet-firewall|ordering cycle/);
    assert.match(
      verify(unit.replace(`${own}\n`, '')),
      /Found ordering cycle[^]*katafleet-firewall/,
      'the control: with default dependencies there is one',
    );
  });
});
