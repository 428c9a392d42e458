import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readdir, readFile, readlink } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { networkInterfaces } from 'node:os';
import { promisify } from 'node:util';
import type { Conversation } from '../../src/protocol/conversation.ts';
import { type Caller, DialHost, opening } from '../support/dial-host.ts';
import { contained, Dialler } from '../support/dialler.ts';
import { eventually } from '../support/eventually.ts';
import { capabilities, sanitized } from '../support/supervisor.ts';

const key = randomBytes(32);
const bits = { netAdmin: 12n, sysAdmin: 21n };

describe('supervisor: the network of one that dialled', function () {
  before(function () {
    if (process.getuid?.() !== 0) this.skip(); // the network namespace is root's to empty
  });

  const said = async (caller: Caller, conversation: Conversation, script: string): Promise<string> =>
    (await caller.run(conversation, ['sh', '-c', script], { keepNetwork: true })).stdout.toString().trim();

  it('a step sees nothing but loopback, which is up, whatever the host asks for', async () => {
    await using host = await DialHost.listen(key);
    await using supervisor = await Dialler.start(host.port, key, { before: contained });
    const caller = await host.caller();
    const conversation = await caller.open();
    for (const keepNetwork of [true, false]) {
      const script = `tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' ' | grep -v -e 0$; grep -c 127.0.0.1 /proc/net/fib_trie; wc -l </proc/net/route`;
      const result = await caller.run(conversation, ['sh', '-c', script], { keepNetwork });
      const [interfaces, addresses, routes] = result.stdout.toString().split('\n');
      assert.equal(interfaces, 'lo');
      assert.ok(Number(addresses) > 0, 'loopback has its address');
      assert.equal(routes, '1', 'no route but the table’s heading');
    }
    const program = `const server = require('net').createServer((s) => s.end('hello')).listen(0, '127.0.0.1', () =>
      require('net').connect(server.address().port, '127.0.0.1').on('data', (d) => (console.log(String(d)), server.close())));`;
    assert.equal((await caller.run(conversation, [process.execPath, '-e', program])).stdout.toString(), 'hello\n');
    caller.destroy();
    assert.equal(await supervisor.exit, 0);
  });

  it('a step reaches neither the host that was dialled nor what listens on an abstract socket', async () => {
    await using host = await DialHost.listen(key, '0.0.0.0');
    const abstract = `\0katafleet-test-${process.pid}`;
    const listener = createServer((socket) => socket.end()).listen(abstract);
    await once(listener, 'listening');
    const open = connect(abstract);
    await once(open, 'connect');
    open.destroy();
    try {
      await using supervisor = await Dialler.start(host.port, key, { before: contained });
      const caller = await host.caller();
      const conversation = await caller.open();
      const own = Object.values(networkInterfaces())
        .flat()
        .find((one) => one && !one.internal && one.family === 'IPv4')?.address;
      const program = (to: string) =>
        `require('net').connect(${to}).on('connect', () => console.log('reached')).on('error', (e) => console.log(e.code));`;
      for (const [to, expected] of [
        [`${host.port}, '127.0.0.1'`, 'ECONNREFUSED'],
        [`${host.port}, '${own}'`, 'ENETUNREACH'],
        [JSON.stringify(abstract), 'ECONNREFUSED'],
      ] as const)
        assert.equal((await caller.run(conversation, [process.execPath, '-e', program(to)])).stdout.toString().trim(), expected, to);
      assert.equal(host.calls, 1);
      caller.destroy();
      assert.equal(await supervisor.exit, 0);
    } finally {
      listener.close();
    }
  });

  it('with --network keep, only steps whose flags ask for the network have it, and the capabilities are still dropped', async () => {
    await using host = await DialHost.listen(key);
    await using supervisor = await Dialler.start(host.port, key, { before: contained, args: ['--network', 'keep'] });
    const caller = await host.caller();
    const conversation = await caller.open();
    const program = `require('net').connect(${host.port}, '127.0.0.1').on('connect', () => { console.log('reached'); process.exit(); })`;
    const kept = await caller.run(conversation, [process.execPath, '-e', program], { keepNetwork: true });
    assert.equal(kept.stdout.toString(), 'reached\n');
    const sets = await capabilities(await inside(supervisor));
    for (const [name, value] of sets)
      for (const bit of Object.values(bits)) assert.equal((value >> bit) & 1n, 0n, `bit ${bit} is in the supervisor's ${name}`);
    await assert.rejects(caller.run(conversation, ['true'], { keepNetwork: false }), /network/);
    caller.destroy();
    assert.equal(await supervisor.exit, 1);
  });

  it('is no option of one that does not dial', async () => {
    await assert.rejects(promisify(execFile)(sanitized, ['--network', 'keep']), { code: 64 });
  });

  it('from OPEN on the supervisor has no other network either, and can have none again', async () => {
    await using host = await DialHost.listen(key);
    await using supervisor = await Dialler.start(host.port, key, { before: contained });
    const caller = await host.caller();
    const conversation = await caller.admit();
    await conversation.hello();
    const pid = await inside(supervisor);
    const network = () => readlink(`/proc/${pid}/ns/net`);
    const original = await readlink('/proc/self/ns/net');
    assert.equal(await network(), original, 'until then it can dial again');
    assert.ok((await namespaces(pid)).length === 1, 'it keeps the empty one open');
    await conversation.send(opening());
    await said(caller, conversation, 'true');
    assert.notEqual(await network(), original);
    assert.deepEqual(await namespaces(pid), [], 'and none open');
    const sets = await capabilities(pid);
    assert.equal(sets.size, 5);
    for (const [name, value] of sets)
      for (const bit of Object.values(bits)) assert.equal((value >> bit) & 1n, 0n, `bit ${bit} is in the supervisor's ${name}`);
    assert.notEqual(sets.get('CapEff'), 0n, 'it keeps the others');
    caller.destroy();
    assert.equal(await supervisor.exit, 0);
  });

  it('a step has no capability, no descriptor, no namespace and no secret of the supervisor’s', async () => {
    await using host = await DialHost.listen(key);
    await using supervisor = await Dialler.start(host.port, key, { before: contained });
    const caller = await host.caller();
    const conversation = await caller.open();
    const script = `grep -h ^Cap /proc/self/status | cut -f2 | sort -u
      ls /proc/self/fd | tr '\\n' ' '; echo
      for of in ns/net ns/mnt fd/0 fd/3 mem environ root exe; do head -c1 /proc/1/$of 2>/dev/null && echo "opened $of"; done
      ls -l /proc/1/fd /proc/1/ns/net 2>&1 | grep -e '->'
      cat ${supervisor.secret} 2>&1
      nsenter --net=/proc/1/ns/net true 2>&1 | head -n 1`;
    const lines = (await said(caller, conversation, script)).split('\n');
    assert.match(lines[0] ?? '', /^0+$/);
    assert.equal(lines[1]?.trim(), '0 1 2 3', 'the fourth is how ls reads the folder');
    assert.match(lines[2] ?? '', /secret: Permission denied$/);
    assert.match(lines[3] ?? '', /Permission denied|not permitted/);
    assert.equal(lines.length, 4, lines.join('\n'));
    caller.destroy();
    assert.equal(await supervisor.exit, 0);
  });

  it('where the namespace cannot be made it says so after the handshake, and runs nothing', async () => {
    await using host = await DialHost.listen(key);
    await using supervisor = await Dialler.start(host.port, key, { before: ['setpriv', '--bounding-set', '-sys_admin'] });
    const conversation = await (await host.caller()).admit();
    await assert.rejects(conversation.hello(), /the network namespace can't be emptied/);
    assert.equal(await supervisor.exit, 1);
  });

  it('where loopback cannot be brought up it goes on without', async () => {
    await using host = await DialHost.listen(key);
    await using supervisor = await Dialler.start(host.port, key, { before: ['setpriv', '--bounding-set', '-net_admin'] });
    const caller = await host.caller();
    const conversation = await caller.open();
    assert.equal(await said(caller, conversation, 'grep -c 127.0.0.1 /proc/net/fib_trie'), '0');
    caller.destroy();
    assert.equal(await supervisor.exit, 0);
  });

  it('a secret that others than root can read is one no longer: it says so, and runs nothing', async () => {
    for (const mode of [0o444, 0o440]) {
      await using host = await DialHost.listen(key);
      await using supervisor = await Dialler.start(host.port, key, { mode });
      const conversation = await (await host.caller()).admit();
      await assert.rejects(conversation.hello(), /the secret's file is open to others/);
      assert.equal(await supervisor.exit, 1);
    }
  });

  it('with --tmpfs, drops the capability at OPEN and not before', async () => {
    await using host = await DialHost.listen(key);
    const before = ['unshare', '--mount', '--propagation', 'private', ...contained.slice(1)];
    const args = ['--tmpfs', '/tmp=1048576'];
    await using supervisor = await Dialler.start(host.port, key, { before, args });
    const caller = await host.caller();
    const conversation = await caller.open();
    assert.equal(await said(caller, conversation, 'stat -f -c %T /tmp; tail -n +3 /proc/net/dev | grep -c -v "0:"'), 'tmpfs\n1');
    caller.destroy();
    assert.equal(await supervisor.exit, 0);
  });

  it('a host that vanishes without a word is given up, whether or not something was said to it, and dialled again', async () => {
    const [theirs, ours] = ['10.213.77.2', '10.213.77.1'];
    // The supervisor waits on a network of its own until the test has joined it to the host's by a cable that can be cut.
    const wait = 'ip link set lo up; read line; exec "$@"';
    for (const heartbeatMs of [0, 200]) {
      const cable = `kf${process.pid}-${heartbeatMs}`; // gone with the other end's network
      await using host = await DialHost.listen(key, '0.0.0.0');
      await using supervisor = await Dialler.start(`${ours}:${host.port}`, key, { before: ['unshare', '--net', 'sh', '-c', wait, 'sh'] });
      const ip = (...words: string[]) => promisify(execFile)('ip', words);
      const { pid } = supervisor.child;
      await eventually('it has a network of its own', 10, async () =>
        assert.notEqual(await readlink(`/proc/${pid}/ns/net`), await readlink('/proc/self/ns/net')),
      );
      await ip('link', 'add', cable, 'type', 'veth', 'peer', 'name', 'a0', 'netns', String(pid));
      await ip('addr', 'add', `${ours}/24`, 'dev', cable);
      await ip('link', 'set', cable, 'up');
      for (const words of [`addr add ${theirs}/24 dev a0`, 'link set a0 up'])
        await promisify(execFile)('nsenter', [`--net=/proc/${pid}/ns/net`, 'ip', ...words.split(' ')]);
      supervisor.child.stdin?.end('go\n');
      const caller = await host.caller();
      await (await caller.admit(heartbeatMs)).hello();
      await ip('link', 'set', cable, 'down');
      await eventually('it has given the host up', 30, async () => assert.match(supervisor.stderr, /no connection/));
      await ip('link', 'set', cable, 'up');
      await (await (await host.caller()).admit()).hello();
      supervisor.child.kill('SIGTERM');
      assert.equal(await supervisor.exit, 0);
    }
  });

  it('refuses an incomplete command line, and a secret that is not valid', async () => {
    await using host = await DialHost.listen(key);
    const to = `127.0.0.1:${host.port}`;
    for (const address of [
      '',
      ',',
      '1.2.3.4',
      '1.2.3.4:',
      '1.2.3.4:0',
      '1.2.3.4:65536',
      '1.2.3.4:7x',
      ':7',
      '[::1:7',
      '::1:7',
      'a..b:7',
      'a b:7',
      `${to},:7`,
    ]) {
      await using supervisor = await Dialler.start(address, key);
      assert.equal(await supervisor.exit, 64, address);
    }
    for (const secret of [Buffer.alloc(0), Buffer.alloc(4097)]) {
      await using supervisor = await Dialler.start(to, secret);
      assert.equal(await supervisor.exit, 1);
      assert.match(supervisor.stderr, /the secret \S+: (empty|too long)/);
    }
    assert.equal(host.calls, 0);
  });
});

/** The supervisor's own process, where `unshare` stands before it. */
async function inside(supervisor: Dialler): Promise<number> {
  const outer = supervisor.child.pid;
  return Number((await readFile(`/proc/${outer}/task/${outer}/children`, 'utf8')).trim());
}

/** What a process keeps open of network namespaces. */
async function namespaces(pid: number): Promise<string[]> {
  const names = await readdir(`/proc/${pid}/fd`);
  const open = await Promise.all(names.map((name) => readlink(`/proc/${pid}/fd/${name}`)));
  return open.filter((to) => to.startsWith('net:'));
}
