import assert from 'node:assert/strict';
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { eventually } from '../support/eventually.ts';
import { must as mustOn } from '../support/node-setup.ts';
import { Testbed } from '../support/testbed.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));
const guide = readFileSync(`${root}docs/legacy.md`, 'utf8');
/** The commands of a chapter of the guide, line by line, and what it says to write into a file. */
function chapter(number: number): { commands: string[]; yaml: string } {
  const [, text = ''] = new RegExp(`\\n### ${number}\\. ([^]*?)\\n##`).exec(guide) ?? [];
  const blocks = (language: string) =>
    Array.from(text.matchAll(new RegExp(`\`\`\`${language}\n([^]*?)\`\`\``, 'g')), (match) => match[1] ?? '');
  return { commands: blocks('sh').flatMap((block) => block.trim().split('\n')), yaml: blocks('yaml').join('') };
}

/** docs/legacy.md to the letter: a server without anything, a node with Docker 1.6, and nothing that the guide does not say. */
describe('the guide to legacy nodes', function () {
  this.timeout(180_000);
  let bed: Testbed;
  const [server, node] = ['h2', 'h1'];
  const must = (words: string) =>
    mustOn(bed, server, ['sh', '-c', `cd /opt/katafleet && ${words.replaceAll('10.0.0.1', bed.address(server))}`]);
  const url = 'http://127.0.0.1:7420';

  /** The repository at /opt/katafleet, as read-only as a disk that survives a boot would not be. */
  const putKatafleet = () =>
    mustOn(bed, server, [
      'sh',
      '-c',
      `mount -t tmpfs -o mode=755 tmpfs /opt && mkdir /opt/katafleet && mount --bind '${root}' /opt/katafleet`,
    ]);
  /** The guide's first run. A node may be slow to answer on a busy machine, and is then told as such: it is tried again. */
  const runs = () => eventually('the light is not red', 90, async () => assert.match(Object.values(run()).join(), /● red/));
  const run = () => bed.on(server, ['sh', '-c', `cd /opt/katafleet && ${chapter(6).commands[1] ?? ''}`]);

  before(async () => {
    bed = await Testbed.up({ hosts: 2 });
    await bed.useOldDocker(node);
    mustOn(bed, server, ['userdel', '-r', 'test-runner']);
    mustOn(bed, node, ['userdel', '-r', 'test-runner']);
    // What the guide presumes: the node has a name, and root of the server is root there.
    writeFileSync(bed.path(server, '/etc/hosts'), `127.0.0.1 localhost\n${bed.address(node)} node1\n`);
    const key = bed.sshConfig.replace(/ssh_config$/, 'id_ed25519');
    writeFileSync(bed.path(server, '/root/.ssh/id_ed25519'), readFileSync(key), { mode: 0o600 });
    const hostKey = readFileSync(bed.path(node, '/etc/ssh/ssh_host_ed25519_key.pub'), 'utf8');
    writeFileSync(bed.path(server, '/root/.ssh/known_hosts'), `node1 ${hostKey}`);
    putKatafleet();
    // /usr/local and homes are a host's own, so that a node program from there is not on it.
    if (bed.on(server, ['node', '--version']).code !== 0) copyFileSync(process.execPath, bed.path(server, '/usr/local/bin/node'));
  });
  after(async () => {
    await bed?.down();
  });

  it('1: sets the server up, once a person has confirmed the node’s key', () => {
    const [build, setUp = '', ...more] = chapter(1).commands;
    // This repository is built: its tests need that.
    assert.deepEqual([build, more], ['cd /opt/katafleet && npm ci && npm run build', []]);
    const { code, stdout } = bed.on(server, ['script', '-qec', `sh -c 'cd /opt/katafleet && ${setUp}'`, '/dev/null'], 'yes\n');
    assert.equal(code, 0, stdout);
    assert.match(stdout, /\+ make the folder \/var\/lib\/katafleet[^]*\+ have katafleet start at boot/);
  });

  it('2, 3: sets the node up, and writes the configuration', () => {
    for (const command of chapter(2).commands) must(command);
    writeFileSync(bed.path(server, '/etc/katafleet/katafleet.yaml'), chapter(3).yaml);
    must('sudo -u www-data katafleet config check');
  });

  it('4, 5: has the images there, closes the gate to others, and finds nothing missing', () => {
    for (const command of chapter(4).commands) must(command);
    const [doctor = ''] = chapter(5).commands;
    must("sed '/^journal/d; /^katas/d' /etc/katafleet/katafleet.yaml >/tmp/bare.yaml");
    assert.match(
      bed.on(server, ['sh', '-c', doctor.replace('katafleet doctor', 'katafleet --config /tmp/bare.yaml doctor')]).stdout,
      /✗ the journal can't be written by www-data: \/var(\/www)? is not writable[^]*✗ the folder of the katas can't be written by www-data/,
    );
    assert.match(must(doctor), /✓ node1: ssh reaches[^]*✓ node1: image gcc-assert is there[^]*katafleet can run here/);
  });

  it('6: starts, and runs a kata', async () => {
    const [start = ''] = chapter(6).commands;
    must(start);
    await runs();
    assert.match(must(`katafleet --server ${url} nodes`), /node1 .*ready/);
    assert.match(must('service katafleet status'), /katafleet runs \(\d+\)/);
  });

  it('starts again at boot', async () => {
    await bed.do('kill', server);
    await bed.do('start', server);
    putKatafleet();
    // A host of the testbed runs no init scripts by itself; its network card is a new one.
    mustOn(bed, node, ['ip', 'neigh', 'flush', 'to', bed.address(server)]);
    const [script = ''] = mustOn(bed, server, ['sh', '-c', 'echo /etc/rc2.d/S*katafleet']).trim().split(' ');
    mustOn(bed, server, [script, 'start']);
    await eventually('the node is not ready', 60, async () => assert.match(must(`katafleet --server ${url} nodes`), /node1 .*ready/));
    await runs();
  });

  it('undo ends the service and what it holds, and keeps its data', () => {
    const said = must('scripts/server-setup --undo 2>&1');
    assert.match(
      said,
      /\+ stop katafleet, and no longer start it at boot[^]*! the folder \/var\/lib\/katafleet stays: there is something in it/,
    );
    assert.match(said, /\+ remove the user test-runner/);
    for (const path of [
      '/usr/local/bin/katafleet',
      '/etc/init.d/katafleet',
      '/var/log/katafleet.log',
      '/etc/sudoers.d/katafleet',
      '/home/test-runner',
    ])
      assert.equal(bed.on(server, ['test', '-e', path]).code, 1, path);
    assert.equal(bed.on(server, ['sh', '-c', 'ls /etc/rc?.d/*katafleet']).code, 2);
    assert.match(mustOn(bed, server, ['ls', '/var/lib/katafleet']), /journal\.db/);
    assert.notEqual(bed.on(server, ['timeout', '3', 'bash', '-c', 'exec 3<>/dev/tcp/127.0.0.1/7420']).code, 0, 'something still listens');
  });
});
