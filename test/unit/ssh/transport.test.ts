import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { KatafleetError } from '../../../src/model/errors.ts';
import { masterWords, sessionWords, sshCommand, sshTarget } from '../../../src/drivers/transport/target.ts';
import { type ProcessStream } from '../../../src/drivers/transport/process-stream.ts';
import { SshTransport } from '../../../src/drivers/transport/transport.ts';
import { fakeSsh } from '../../support/fake-ssh.ts';

describe('remote commands over shared connections', () => {
  let folder: string;
  let path: string | undefined;
  let transport: SshTransport;
  const log = () => join(folder, 'log');
  const calls = () => readFileSync(log(), 'utf8').trim().split('\n');
  const masters = () => calls().filter((line) => line.startsWith('master')).length;
  const open: ProcessStream[] = [];
  const held = () => {
    const stream = transport.open(['cat']);
    stream.on('error', () => undefined);
    open.push(stream);
    return stream;
  };
  /** Resolves when the far side lives. */
  const echoed = async (stream: ProcessStream) => {
    stream.write('x');
    for await (const chunk of stream.iterator({ destroyOnReturn: false })) return String(chunk);
    return undefined;
  };

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'katafleet-transport-'));
    writeFileSync(join(folder, 'ssh'), fakeSsh, { mode: 0o755 });
    writeFileSync(log(), '');
    path = process.env['PATH'];
    process.env['PATH'] = `${folder}:${path}`;
    process.env['LOG'] = log();
    transport = new SshTransport('ssh://node');
  });
  afterEach(async () => {
    await transport.close();
    open.splice(0);
    process.env['PATH'] = path;
    delete process.env['LOG'];
    // A connection that was given up is told to end beside all else, and writes it into the log.
    await rm(folder, { recursive: true, maxRetries: 10 });
  });

  it('return a command’s output, exit code and stderr, and give it its input', async () => {
    const { code, stdout, stderr } = await transport.run(['sh', '-c', 'cat; echo "it\'s" >&2; exit 3'], { input: Buffer.from('given') });
    assert.deepEqual([code, stdout, stderr], [3, 'given', "it's\n"]);
  });

  it('eight sessions share a connection; the ninth takes an idle connection before it opens another', async () => {
    const first = Array.from({ length: 8 }, held);
    assert.deepEqual(await Promise.all(first.map(echoed)), Array(8).fill('x'));
    assert.equal(masters(), 1);
    assert.equal(await echoed(held()), 'x');
    assert.equal(masters(), 2);
    first[0]?.destroy();
    await first[0]?.ended;
    await Promise.all([held(), held(), held()].map(echoed));
    assert.deepEqual([masters(), transport.connections], [2, 2]);
  });

  it('a command waits for a free session when all are taken', async () => {
    await Promise.all(Array.from({ length: 7 }, held).map(echoed));
    const results = await Promise.all(Array.from({ length: 12 }, (_, index) => transport.run(['echo', String(index)])));
    assert.deepEqual(
      results.map(({ stdout }) => stdout.trim()),
      results.map((_, index) => String(index)),
    );
    assert.equal(masters(), 1);
  });

  it('a connection that died is opened again, and the command runs again', async () => {
    await transport.run(['true']);
    await rm(calls()[0]?.split(' ')[1] ?? '');
    assert.equal((await transport.run(['echo', 'again'])).stdout, 'again\n');
    assert.equal(masters(), 2);
  });

  it('a connection that can’t be opened fails the call, and the next call tries again', async () => {
    writeFileSync(`${log()}.refuse`, 'Host key verification failed.\n');
    await assert.rejects(transport.run(['true']), (error) => error instanceof KatafleetError && error.code === 'ssh.host_key');
    await rm(`${log()}.refuse`);
    assert.equal((await transport.run(['true'])).code, 0);
  });

  it('disconnect ends running commands, and the next one opens a new connection', async () => {
    const stream = held();
    await echoed(stream);
    const running = transport.run(['sleep', '60']);
    const waiting = Promise.all([assert.rejects(running, /broken off/), stream.carrierClosed]);
    await transport.disconnect();
    await waiting;
    assert.ok(calls().some((line) => line.startsWith('exit')));
    assert.equal((await transport.run(['echo', 'back'])).stdout, 'back\n');
  });

  it('a connection that does not open in time blocks no other command', async () => {
    writeFileSync(`${log()}.hang`, '');
    await assert.rejects(
      transport.run(['true'], { timeoutMs: 100 }),
      (error) => error instanceof KatafleetError && error.code === 'engine.timeout',
    );
    const running = assert.rejects(transport.run(['true']), KatafleetError);
    await transport.disconnect();
    await running;
    await rm(`${log()}.hang`);
    assert.equal((await transport.run(['true'])).code, 0);
  });

  it('a command ends at its time limit, or when it is aborted', async () => {
    await assert.rejects(
      transport.run(['sleep', '60'], { timeoutMs: 50 }),
      (error) => error instanceof KatafleetError && error.code === 'engine.timeout',
    );
    await assert.rejects(transport.run(['sleep', '60'], { signal: AbortSignal.timeout(50) }), /timeout/i);
    await assert.rejects(transport.run(['true'], { signal: AbortSignal.abort(new Error('no more')) }), /no more/);
  });
});

describe('the words for ssh', () => {
  it('an endpoint has a host, a port and a user, and is refused if it looks like an option', () => {
    assert.deepEqual(sshTarget('ssh://me@node:2222'), { host: 'node', port: '2222', user: 'me' });
    assert.deepEqual(sshTarget('ssh://[::1]'), { host: '::1' });
    for (const bad of ['ssh://-oProxyCommand=x', 'tcp://node', 'ssh://', 'node']) assert.throws(() => sshTarget(bad), KatafleetError, bad);
  });

  it('ssh as another user is called by sudo, which must not ask for a password', () => {
    assert.deepEqual(sshCommand({ as: 'test-runner' }), ['sudo', '-n', '-u', 'test-runner', '--', 'ssh']);
    assert.deepEqual(sshCommand({}), ['ssh']);
  });

  it('ssh asks no question, trusts no unknown host and forwards nothing; a session opens no connection itself', () => {
    const target = { host: 'node', user: 'me' };
    const settings = { config: '/c', identity: '/my keys/100%', knownHosts: '/k', jump: 'gate', keepaliveMs: 2_400 };
    const master = masterWords(target, settings, '/s/1').join(' ');
    for (const option of ['BatchMode=yes', 'StrictHostKeyChecking=yes', 'ForwardAgent=no', 'ForwardX11=no', 'RequestTTY=no']) {
      assert.ok(master.includes(`-o ${option}`), option);
      assert.ok(sessionWords(target, settings, '/s/1', 'true').join(' ').includes(`-o ${option}`), option);
    }
    for (const part of [
      '-F /c',
      '-S /s/1',
      '-J gate',
      '-l me -- node',
      'ServerAliveInterval=2',
      'IdentityFile="/my keys/100%%"',
      'UserKnownHostsFile="/k"',
    ])
      assert.ok(master.includes(part), part);
    assert.ok(sessionWords(target, settings, '/s/1', 'true').includes('ProxyCommand=false'));
  });
});
