import assert from 'node:assert/strict';
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import Dockerode from 'dockerode';
import { Katafleet, KatafleetError } from '../../src/app/library.ts';
import { endpoint, stdout, withoutUid } from '../support/fleet.ts';
import { freePort } from '../support/free-port.ts';
import { until } from '../support/until.ts';
import { importScratch, scratchImage } from '../support/scratch.ts';
import { certificates } from '../support/certificates.ts';

const execute = promisify(execFile);
const script = fileURLToPath(new URL('../../scripts/engine', import.meta.url));
const socketOf = (at: string) => at.replace('unix://', '');
const code = (expected: string, about: RegExp) => (error: unknown) =>
  error instanceof KatafleetError && error.code === expected && about.test(error.message);

const request = {
  image: scratchImage,
  files: [{ path: 'in', mode: 0o644, mtimeNs: 0n, content: Buffer.from('given') }],
  steps: [{ argv: ['/program'] }],
};

describe('an engine of its own, over TLS, with a disk of 64 MiB', () => {
  let folder: string;
  let at: string;
  before(async function () {
    if (process.getuid?.() !== 0) return this.skip();
    folder = await mkdtemp(join(tmpdir(), 'kf-'));
    for (const name of ['engine', 'disk']) await mkdir(join(folder, name));
    await execute('mount', ['-t', 'tmpfs', '-o', 'size=64m', 'none', join(folder, 'disk')]);
    await mkdir(join(folder, 'disk/data'));
    await symlink(join(folder, 'disk/data'), join(folder, 'engine/data'));
    await certificates(join(folder, 'good'));
    await certificates(join(folder, 'foreign'));
    const port = await freePort();
    at = `tcp://127.0.0.1:${port}`;
    const good = (name: string) => join(folder, 'good', name);
    const args = `--tlsverify --tlscacert ${good('ca.pem')} --tlscert ${good('server.pem')} --tlskey ${good('server-key.pem')} -H ${at}`;
    await execute(script, ['up', join(folder, 'engine')], { env: { ...process.env, KATAFLEET_DOCKERD_ARGS: args } });
    await importScratch(new Dockerode({ socketPath: join(folder, 'engine/docker.sock'), host: undefined }));
  });
  after(async () => {
    if (!folder) return;
    await execute(script, ['down', join(folder, 'engine')]);
    await execute('umount', [join(folder, 'disk')]);
    await rm(folder, { recursive: true });
  });

  it('serves warm runs to a client with a certificate that it knows, and the environment can name it', async () => {
    await using fleet = new Katafleet({ endpoint: at, certPath: join(folder, 'good') });
    await fleet.warm(scratchImage, 1);
    const result = await fleet.run(request);
    assert.deepEqual([result.warm, withoutUid(stdout(result))], [true, 'UID given\n']);
    const main = fileURLToPath(new URL('../../dist/main.js', import.meta.url));
    const env = { ...process.env, DOCKER_HOST: at, DOCKER_TLS_VERIFY: '1', DOCKER_CERT_PATH: join(folder, 'good') };
    assert.match((await execute(process.execPath, [main, 'doctor'], { env })).stdout, /katafleet can run here/);
  });

  it('refuses a client of another authority, and is refused by it; without TLS nobody is heard', async () => {
    await using foreign = new Katafleet({ endpoint: at, certPath: join(folder, 'foreign') });
    await assert.rejects(foreign.open(), code('engine.certificate', /signed by another authority/));
    await using plain = new Katafleet({ endpoint: at });
    await assert.rejects(plain.open(), (error) => error instanceof KatafleetError && error.code.startsWith('engine.'));
  });

  it('says that the node’s disk is full, and serves again when there is room', async () => {
    await using fleet = new Katafleet({ endpoint: at, certPath: join(folder, 'good') });
    const ballast = join(folder, 'disk/ballast');
    await assert.rejects(writeFile(ballast, Buffer.alloc(64 * 1024 * 1024)), { code: 'ENOSPC' });
    await assert.rejects(fleet.run(request), code('engine.disk_full', /no space left on device/));
    await rm(ballast);
    assert.equal(withoutUid(stdout(await fleet.run(request))), 'UID given\n');
  });
});

describe('an engine over ssh', () => {
  let folder: string;
  let port: number;
  let sshd: ChildProcess | undefined;
  const path = process.env['PATH'];
  before(async function () {
    if (process.getuid?.() !== 0) return this.skip();
    await importScratch(new Dockerode({ socketPath: socketOf(endpoint), host: undefined }));
    folder = await mkdtemp(join(tmpdir(), 'kf-'));
    for (const name of ['host', 'client']) await execute('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(folder, name)]);
    await writeFile(join(folder, 'authorized'), await readFile(join(folder, 'client.pub')));
    port = await freePort();
    await writeFile(
      join(folder, 'known_hosts'),
      `[127.0.0.1]:${port} ${(await readFile(join(folder, 'host.pub'), 'utf8')).split(' ').slice(0, 2).join(' ')}\n`,
    );
    const lines = [`Port ${port}`, 'ListenAddress 127.0.0.1', `HostKey ${folder}/host`, `AuthorizedKeysFile ${folder}/authorized`];
    lines.push('StrictModes no', 'UsePAM no', 'PasswordAuthentication no', `PidFile none`, `SetEnv "DOCKER_HOST=${endpoint}"`);
    await writeFile(join(folder, 'sshd_config'), `${lines.join('\n')}\n`);
    await mkdir('/run/sshd', { recursive: true });
    const daemon = spawn('/usr/sbin/sshd', ['-D', '-e', '-f', join(folder, 'sshd_config')], { stdio: ['ignore', 'ignore', 'pipe'] });
    sshd = daemon;
    let said = '';
    daemon.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()));
    await until(() => {
      assert.equal(daemon.exitCode, null, said);
      return said.includes('Server listening');
    });
    // katafleet takes the person's own ssh, with its configuration; here it has another.
    const ssh = join(folder, 'bin/ssh');
    await mkdir(join(folder, 'bin'));
    await writeFile(
      ssh,
      `#!/bin/sh\nexec /usr/bin/ssh -F none -i ${folder}/client -o UserKnownHostsFile=${folder}/known_hosts -o StrictHostKeyChecking=yes "$@"\n`,
    );
    await chmod(ssh, 0o755);
    process.env['PATH'] = `${folder}/bin:${path}`;
  });
  after(async () => {
    if (!folder) return;
    process.env['PATH'] = path;
    sshd?.kill();
    if (sshd?.exitCode === null) await once(sshd, 'exit');
    await rm(folder, { recursive: true });
  });

  it('serves warm runs, with its output as it comes, and leaves nothing behind', async () => {
    const fleet = new Katafleet({ endpoint: `ssh://root@127.0.0.1:${port}` });
    await fleet.warm(scratchImage, 2);
    const results = await Promise.all([fleet.run(request), fleet.run(request), fleet.run(request)]);
    assert.deepEqual(
      results.map((result) => withoutUid(stdout(result))),
      Array(3).fill('UID given\n'),
    );
    assert.equal(results.filter(({ warm }) => warm).length, 2);
    await fleet.close();
    const docker = new Dockerode({ socketPath: socketOf(endpoint), host: undefined });
    assert.deepEqual(await docker.listContainers({ all: true, filters: { label: ['katafleet.role'] } }), []);
  });

  it('says what ssh complained of', async () => {
    await using nobody = new Katafleet({ endpoint: `ssh://katafleet-nobody@127.0.0.1:${port}` });
    await assert.rejects(nobody.open(), code('ssh.refused', /Permission denied/));
    await using closed = new Katafleet({ endpoint: `ssh://root@127.0.0.1:${await freePort()}` });
    await assert.rejects(closed.open(), code('engine.unreachable', /refused/));
  });
});
