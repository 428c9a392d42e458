import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { EngineDriver } from '../../src/drivers/engine/driver.ts';
import { findCompose } from '../../src/deploy/compose.ts';
import { command } from '../support/command.ts';
import { endpoint } from '../support/fleet.ts';
import { freePort } from '../support/free-port.ts';

const project = fileURLToPath(new URL('../../', import.meta.url));
const name = `kf-compose-${process.pid}`;

const katafleet = (...args: string[]) => katafleetWith({}, ...args);

/** The command line, with further variables. */
function katafleetWith(more: NodeJS.ProcessEnv, ...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    execFile(command[0], [...command.slice(1), ...args], { cwd: project, env: { ...process.env, ...more } }, (error, stdout, stderr) =>
      resolve({ code: error ? Number(error.code) : 0, stdout, stderr }),
    );
  });
}

describe('katafleet as a service of one host, by the Compose of this machine', function () {
  this.timeout(120_000);
  const driver = new EngineDriver({ endpoint });
  const folder = mkdtempSync(join(tmpdir(), 'katafleet-compose-'));
  const file = join(folder, 'katafleet.yaml');
  let port = 0;
  before(async () => {
    findCompose();
    port = await freePort();
    chmodSync(folder, 0o755);
    writeFileSync(file, 'server: { grace: 5s }\n');
  });
  after(async () => {
    rmSync(folder, { recursive: true });
    await katafleet('undeploy', '--name', name, '--volumes', '--timeout', '10s');
    driver.close();
  });
  const toDeploy = () => ['--config', file, 'deploy', '--stack', 'compose', '--name', name, '--listen', String(port)];
  const deploy = (...args: string[]) => katafleetWith({ KATAFLEET_NAMES: 'runner.example' }, ...toDeploy(), ...args);
  const container = async () => {
    const docker = await driver.client();
    const [found] = await docker.listContainers({ all: true, filters: { label: [`com.docker.compose.project=${name}`] } });
    assert.ok(found, 'there is a container');
    return docker.getContainer(found.Id).inspect();
  };
  /** By its address on the engine's network: the tests' engine publishes nothing on loopback. */
  const asked = async (host: string): Promise<number> => {
    const { Networks } = (await container()).NetworkSettings;
    const request = http.get({ host: Networks[`${name}_default`]?.IPAddress, port: 7420, path: '/health/ready', headers: { host } });
    const [response] = await new Promise<[http.IncomingMessage]>((resolve, reject) => {
      request.once('response', (answer) => resolve([answer])).once('error', reject);
    });
    response.resume();
    return response.statusCode ?? 0;
  };

  it('reports why it can’t start the first time, and leaves nothing broken', async () => {
    const { code, stderr } = await katafleetWith({ KATAFLEET_CPUS: '9999' }, ...toDeploy());
    assert.deepEqual([code, /Range of CPUs[^]*KATAFLEET_CPUS says how many/i.test(stderr)], [69, true], stderr);
    const left = await katafleet('undeploy', '--name', name, '--dry-run');
    assert.deepEqual([left.code, left.stdout], [0, `nothing of ${name} is there\n`], left.stderr);
  });

  it('with a path that its container does not have is refused before anything is touched', async () => {
    const elsewhere = join(folder, 'elsewhere.yaml');
    writeFileSync(elsewhere, 'server: { grace: 5s }\njournal: { file: /var/www/katafleet/journal.db }\n');
    const { code, stderr } = await katafleet('--config', elsewhere, 'deploy', '--stack', 'compose', '--name', name);
    assert.deepEqual([code, /elsewhere\.yaml:2: journal\.file: "\/var\/www[^]*\/var\/lib\/katafleet/.test(stderr)], [78, true], stderr);
    assert.doesNotMatch(stderr, /^(compose at|container) /m);
  });

  it('is deployed in one command, serves with the engine that its socket leads to, and answers to names of loopback and its own only', async () => {
    const { code, stdout, stderr } = await deploy();
    assert.deepEqual([code, stdout], [0, `http://127.0.0.1:${port}\n`], stderr);
    // On a busy machine it has become so before the first look.
    assert.match(stderr, /^container \S+: (has started, and is not healthy yet\n[^]*^container \S+: )?is healthy\n/m);
    const { HostConfig, Config, State } = await container();
    assert.equal(State.Health?.Status, 'healthy');
    assert.deepEqual(
      [HostConfig.ReadonlyRootfs, HostConfig.CapDrop, HostConfig.SecurityOpt, HostConfig.Memory, Config.User, HostConfig.PortBindings],
      [
        true,
        ['ALL'],
        ['no-new-privileges:true'],
        512 * 1024 ** 2,
        '10001:10001',
        { '7420/tcp': [{ HostIp: '127.0.0.1', HostPort: String(port) }] },
      ],
    );
    for (const host of ['127.0.0.1:7420', 'katafleet:7420', 'runner.example']) assert.equal(await asked(host), 200, host);
    for (const host of ['evil.example:7420', '10.0.0.1']) assert.equal(await asked(host), 403, host);
  });

  it('deployed again it stays; another configuration makes another container', async () => {
    const first = (await container()).Id;
    const same = await deploy();
    assert.equal(same.code, 0, same.stderr);
    assert.equal((await container()).Id, first);
    writeFileSync(file, 'server: { grace: 6s }\n');
    const other = await deploy();
    assert.equal(other.code, 0, other.stderr);
    assert.notEqual((await container()).Id, first);
  });

  it('a configuration that it can not read, an engine that is elsewhere, and the mesh that only a swarm has, are told', async () => {
    chmodSync(file, 0o600);
    writeFileSync(file, 'server: { grace: 7s }\n');
    const unreadable = await deploy();
    // Compose starts it again and again: after the third time it has ended, or has just started.
    const told = /(ended with 66|not healthy yet)[^]*EACCES/;
    assert.deepEqual([unreadable.code, told.test(unreadable.stderr)], [69, true], unreadable.stderr);
    chmodSync(file, 0o644);
    const elsewhere = await katafleet('--host', 'tcp://127.0.0.1:1', 'deploy', '--stack', 'compose', '--name', name);
    assert.equal(elsewhere.code, 69, elsewhere.stderr);
    assert.equal((await deploy('--publish', 'ingress')).code, 64);
  });

  it('undeploy takes it away and keeps its state until that is to go as well', async () => {
    const { code, stderr } = await katafleet('undeploy', '--name', name);
    assert.equal(code, 0, stderr);
    assert.match(stderr, new RegExp(`volume ${name}_state: kept[^]*container \\S+: removed\\nnetwork ${name}_default: removed`));
    const state = await katafleet('undeploy', '--name', name, '--volumes');
    assert.deepEqual([state.code, state.stdout], [0, `${name} has gone: 1 things removed\n`], state.stderr);
    const nothing = await katafleet('undeploy', '--name', name, '--volumes');
    assert.deepEqual([nothing.code, nothing.stdout], [0, `nothing of ${name} is there\n`], nothing.stderr);
  });

  it('an engine in no swarm says how to make one', async () => {
    const { code, stderr } = await katafleet('deploy', '--stack', 'swarm', '--name', name);
    assert.deepEqual([code, /is in no swarm[^]*docker swarm init/.test(stderr)], [69, true], stderr);
  });
});
