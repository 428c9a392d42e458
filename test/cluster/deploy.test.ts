import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { command } from '../support/command.ts';
import { eventually } from '../support/eventually.ts';
import { said } from '../support/said.ts';
import { ApiClient } from '../support/service.ts';
import { Testbed } from '../support/testbed.ts';

const project = fileURLToPath(new URL('../../', import.meta.url));
const image = 'katafleet/katafleet:latest';
/** The one that came with the hosts' engine, where another one comes first on the PATH. */
const client = existsSync('/usr/bin/docker') ? '/usr/bin/docker' : 'docker';

interface Answer {
  code: number | null;
  stdout: string;
  stderr: string;
}

describe('katafleet as a service of a real swarm', function () {
  this.timeout(240_000);
  let bed: Testbed;
  let folder: string;
  before(async () => {
    bed = await Testbed.up({ hosts: 3, managers: 1 });
    folder = mkdtempSync(join(tmpdir(), 'katafleet-deploy-'));
  });
  after(async () => {
    await bed[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true });
  });

  /** The command line, with the engine of a host. */
  const katafleet = async (host: string, ...args: string[]): Promise<Answer> => {
    const env = { ...process.env, DOCKER_HOST: bed.endpoint(host) };
    const child = spawn(command[0], [...command.slice(1), ...args], { cwd: project, env, stdio: 'pipe' });
    const answer = { code: null as number | null, stdout: '', stderr: '' };
    child.stdout.on('data', (chunk: Buffer) => (answer.stdout += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (answer.stderr += chunk.toString()));
    [answer.code] = (await once(child, 'close')) as [number | null];
    return answer;
  };
  const configured = (text: string): string => {
    const file = join(folder, 'katafleet.yaml');
    writeFileSync(file, text);
    return file;
  };
  /** Names of what carries the stack's label on the manager, by kind. */
  const left = async (stack: string): Promise<Record<string, string[]>> => {
    const kinds = { service: '{{.Name}}', secret: '{{.Name}}', config: '{{.Name}}', network: '{{.Name}}', volume: '{{.Name}}' };
    const found: Record<string, string[]> = {};
    for (const [kind, format] of Object.entries(kinds)) {
      const names = await bed.docker('h1', kind, 'ls', '--filter', `label=katafleet.stack=${stack}`, '--format', format);
      if (names.trim() !== '') found[kind] = names.trim().split('\n').sort();
    }
    return found;
  };
  /** The configs with the server's configuration: its pools have one with the supervisor beside. */
  const configsOf = async (stack: string) => (await left(stack))['config']?.filter((name) => name.startsWith(`${stack}_config_`));
  const containers = async (host: string, stack: string) =>
    (await bed.docker(host, 'ps', '--all', '--quiet', '--filter', `label=katafleet.stack=${stack}`)).trim();
  /** The container of katafleet itself, which pools' tasks come and go beside. */
  const server = async (host: string) => (await bed.docker(host, 'ps', '--quiet', '--filter', 'name=katafleet_katafleet')).trim();
  const serviceId = async (name: string) => (await bed.docker('h1', 'service', 'inspect', '--format', '{{.ID}}', name)).trim();

  it('is deployed in one command, serves, and runs what it is asked to', async () => {
    const { code, stdout, stderr } = await katafleet('h1', 'deploy');
    assert.deepEqual([code, stdout], [0, `http://${bed.address('h1')}:7420\n`], stderr);
    // That it has started and is not healthy yet is told too, unless it has become so before the first look.
    assert.match(stderr, /secret katafleet_key: created from 32 random bytes\n[^]*is healthy on h1\n/);
    assert.deepEqual(
      { ...(await left('katafleet')), config: [] },
      {
        service: ['katafleet_katafleet'],
        secret: ['katafleet_key'],
        config: [],
        network: ['katafleet_default', 'katafleet_tasks'],
        volume: ['katafleet_state'],
      },
    );
    const api = new ApiClient(stdout.trim());
    const run = await api.run({ image: 'build-essential', command: ['sh', '-c', 'echo from inside'] });
    assert.deepEqual([run.state, run.result?.steps[0]?.stdout], ['finished', 'from inside\n']);
  });

  it('runs as nobody in particular, on a read-only root, and its key is read by it alone', async () => {
    const id = await server('h1');
    const inside = async (script: string) => (await bed.docker('h1', 'exec', id, 'sh', '-c', script)).trim();
    assert.equal(await inside('id -u; stat -c "%u %a %s" /run/secrets/katafleet_key'), '10001\n10001 400 32');
    assert.equal(await inside('touch /opt/x /usr/x 2>&1 | grep -c "Read-only file system"'), '2');
    assert.equal(await inside('grep -E "^Cap(Eff|Bnd|Prm)" /proc/1/status | grep -vc 0000000000000000 || true'), '0');
    assert.equal(await inside('cat /proc/1/comm'), 'docker-init');
  });

  it('is found by its names in the network of the tasks, which leads nowhere else, from any node, and answers to them and its node’s', async () => {
    const asking = (name: string, host = name) =>
      `exec 3<>/dev/tcp/${name}/7420 && printf "GET /health/live HTTP/1.0\\r\\nHost: ${host}:7420\\r\\n\\r\\n" >&3 && tail -n 1 <&3; echo;`;
    const names = ['katafleet', 'tasks.katafleet', 'katafleet_katafleet', 'tasks.katafleet_katafleet'];
    const script = `${names.map((name) => asking(name)).join(' ')} ${asking('katafleet', 'h1')} ${asking('katafleet', 'evil.example')}`;
    const inside = ['run', '--rm', '--network', 'katafleet_tasks', '--entrypoint', 'bash', 'katafleet/build-essential', '-c'];
    const answers = (await bed.docker('h2', ...inside, script)).trim().split('\n');
    assert.deepEqual(answers.slice(0, 5), Array(5).fill('{"live":true}'));
    assert.match(answers[5] ?? '', /"request\.forbidden"[^]*evil\.example/);
    const out = `timeout 3 bash -c "exec 3<>/dev/tcp/${bed.address('h1')}/7420" 2>/dev/null && echo reached || echo closed`;
    assert.equal((await bed.docker('h2', ...inside, out)).trim(), 'closed');
  });

  it('deployed again it goes on as it was; with another configuration the old one drains first, and its config goes', async () => {
    const before = await server('h1');
    const same = await katafleet('h1', 'deploy');
    assert.equal(same.code, 0, same.stderr);
    assert.equal(await server('h1'), before);
    const configs = await configsOf('katafleet');

    const api = new ApiClient(`http://${bed.address('h1')}:7420`);
    const body = { image: 'build-essential', command: ['sh', '-c', 'echo begun; sleep 4; echo done'], profile: { wallMs: 30_000 } };
    const run = await api.call<{ id: string }>('POST', '/v1/runs', body);
    await eventually('the run runs', 60, async () => {
      assert.equal((await api.call<{ state: string }>('GET', `/v1/runs/${run.id}`)).state, 'running');
    });
    const file = configured('server: { grace: 30s }\nprofiles: { small: { memory: 64m } }\n');
    const other = await katafleet('h1', '--config', file, 'deploy');
    assert.equal(other.code, 0, other.stderr);
    assert.match(other.stderr, /is healthy on h1\n[^]*config \S+: removed/);
    const ended = await api.ended(await api.call('GET', `/v1/runs/${run.id}`));
    assert.deepEqual([ended.state, ended.attempts.length, ended.result?.steps[0]?.stdout], ['finished', 1, 'begun\ndone\n']);
    const now = await configsOf('katafleet');
    assert.equal(now?.length, 1);
    assert.notDeepEqual(now, configs);
    const grace = await bed.docker(
      'h1',
      'service',
      'inspect',
      '--format',
      '{{.Spec.TaskTemplate.ContainerSpec.StopGracePeriod}}',
      'katafleet_katafleet',
    );
    assert.equal(grace.trim(), '1m10s');
  });

  it('its tasks find it by its name on the overlay, on every machine, where the configuration says so; the command line shows where', async () => {
    const file = configured('server: { grace: 5s }\nswarm: { dial: overlay }\nprofiles: { small: { memory: 64m } }\n');
    const deployed = await katafleet('h1', '--config', file, 'deploy');
    assert.equal(deployed.code, 0, deployed.stderr);
    const url = `http://${bed.address('h1')}:7420`;
    const request = { image: 'build-essential', profile: 'small', command: ['sh', '-c', 'hostname; grep -o "[a-z0-9]*:" /proc/net/dev'] };
    const runs = await Promise.all(Array.from({ length: 9 }, () => new ApiClient(url).run(request)));
    for (const { state, result } of runs)
      assert.deepEqual([state, result?.steps[0]?.stdout.split('\n').slice(1)], ['finished', ['lo:', '']]);
    const networks = '{{range .Spec.TaskTemplate.Networks}}{{.Target}} {{end}}';
    const pools = (await bed.docker('h1', 'service', 'ls', '--quiet', '--filter', 'label=katafleet.role=pool')).trim().split('\n');
    const targets = await bed.docker('h1', 'service', 'inspect', '--format', networks, ...pools);
    assert.ok(targets.includes((await bed.docker('h1', 'network', 'inspect', '--format', '{{.Id}}', 'katafleet_tasks')).trim()), targets);

    const asked = (...words: string[]) => katafleet('h1', '--server', url, ...words);
    const listed = await asked('nodes');
    assert.equal(listed.code, 0, listed.stderr);
    for (const host of bed.hosts) assert.match(listed.stdout, new RegExp(`\\b${host} +.*ready`));
    const drained = await asked('drain', 'local/h2');
    assert.equal(drained.code, 0, drained.stderr);
    assert.match((await asked('nodes')).stdout, /h2 +.*ready, drain/);
    assert.equal((await asked('uncordon', 'local/h2')).code, 0);
  });

  it('an update that does not become healthy is rolled back, and the reason told', async () => {
    const configs = await configsOf('katafleet');
    const { code, stderr } = await katafleet('h1', '--config', configured('journal: { file: /var/lib/katafleet }\n'), 'deploy');
    assert.equal(code, 69, stderr);
    assert.match(
      stderr,
      /was rolled back to the previous version: failed on h1: it ended with 74; its last output:\n[^]*\/var\/lib\/katafleet can't be used/,
    );
    await eventually('the previous version runs again', 120, async () => {
      const { ready } = await new ApiClient(`http://${bed.address('h1')}:7420`).call<{ ready: boolean }>('GET', '/health/ready');
      assert.ok(ready);
    });
    assert.deepEqual(await configsOf('katafleet'), configs);
  });

  it('reports an impossible deployment, with advice', async () => {
    const about = async (host: string, expected: RegExp, code: number, ...args: string[]) => {
      const answer = await katafleet(host, 'deploy', ...args);
      assert.deepEqual([answer.code, expected.test(answer.stderr)], [code, true], answer.stderr);
    };
    await about('h2', new RegExp(`is a worker of its swarm[^]*--host with a manager: ${bed.address('h1')}`), 69);
    const blind = await katafleet('h2', 'undeploy');
    assert.deepEqual([blind.code, /is a worker of its swarm/.test(blind.stderr)], [69, true], blind.stderr);
    await about('h1', /has no image nope:1[^]*docker pull nope:1/, 66, '--image', 'nope:1');
    await about('h1', /no socket|bind source path does not exist[^]*--socket names/, 69, '--socket', '/nowhere.sock');
    await about('h1', /publishes a port at all addresses/, 64, '--listen', '127.0.0.1:7420');
    // The swarm's own API port is another program's, and the first stack has the usual ones.
    const taken = ['--name', 'second', '--timeout', '3s'];
    await about('h1', /no node can take it: [^]*its port is used by another service[^]*choose other ports/, 69, ...taken);
    // Taken back at once: it would go on trying, and have the ports of whoever deploys next.
    assert.deepEqual(
      Object.keys(await left('second')).filter((kind) => kind !== 'volume'),
      [],
    );
    assert.equal((await katafleet('h1', 'undeploy', '--name', 'second', '--volumes')).code, 0);
    await about(
      'h1',
      /its port is taken there|address already in use/,
      69,
      ...taken,
      '--timeout',
      '20s',
      '--listen',
      '22',
      '--dial-port',
      '8421',
    );
    assert.equal((await katafleet('h1', 'undeploy', '--name', 'second', '--volumes')).code, 0);
    assert.deepEqual(await left('second'), {});
  });

  it('undeploy takes all of it, the pools of the swarm too, and nothing of another stack; twice is no error', async () => {
    // What the swarm's driver makes, by hand.
    const own = ['--label', 'katafleet.stack=katafleet'];
    await bed.docker('h1', 'network', 'create', '--driver', 'overlay', '--attachable', ...own, 'kf-net');
    const pool = ['--detach', '--replicas', '3', '--network', 'kf-net', '--restart-delay', '0s', '--entrypoint', 'sleep'];
    const debian = (await bed.docker('h1', 'image', 'inspect', '--format', '{{.Id}}', 'katafleet/build-essential')).trim();
    await bed.docker('h1', 'service', 'create', '--name', 'kf-pool', ...own, '--label', 'katafleet.role=pool', ...pool, debian, '600');
    await bed.docker(
      'h1',
      'service',
      'create',
      '--name',
      'kf-other',
      '--label',
      'katafleet.stack=other',
      '--detach',
      '--entrypoint',
      'sleep',
      debian,
      '600',
    );
    await eventually('the pool runs', 60, async () => {
      const states = await bed.docker('h1', 'service', 'ps', '--format', '{{.CurrentState}}', 'kf-pool');
      assert.equal(
        states
          .trim()
          .split('\n')
          .filter((state) => state.startsWith('Running')).length,
        3,
        states,
      );
    });
    const dry = await katafleet('h1', 'undeploy', '--dry-run');
    assert.match(
      dry.stdout,
      /^would remove the service katafleet_katafleet\n[^]*would remove the service kf-pool\n[^]*would remove the network kf-net\n/,
    );
    await serviceId('katafleet_katafleet');
    const { code, stderr } = await katafleet('h1', 'undeploy');
    assert.equal(code, 0, stderr);
    assert.match(stderr, /service katafleet_katafleet: drains\n[^]*volume katafleet_state: kept|volume katafleet_state: kept[^]*drains/);
    assert.deepEqual(await left('katafleet'), { volume: ['katafleet_state'] });
    assert.deepEqual(await Promise.all(bed.hosts.map((host) => containers(host, 'katafleet'))), ['', '', '']);
    const again = await katafleet('h1', 'undeploy', '--volumes');
    assert.deepEqual([again.code, again.stdout], [0, 'katafleet has gone: 1 things removed\n'], again.stderr);
    const nothing = await katafleet('h1', 'undeploy', '--volumes');
    assert.deepEqual([nothing.code, nothing.stdout], [0, 'nothing of katafleet is there\n'], nothing.stderr);
    assert.deepEqual(await left('katafleet'), {});
    assert.ok(await serviceId('kf-other'));
  });

  it('docker stack deploy takes the same file, katafleet deploy goes on from there, and undeploy takes it away', async () => {
    const docker = (words: string[], input = '') => {
      const group = bed.on('h1', ['stat', '-c', '%g', '/var/run/docker.sock']).stdout.trim();
      const env = { DOCKER_HOST: bed.endpoint('h1'), KATAFLEET_SOCKET_GROUP: group };
      const answer = said(client, words, { env, input });
      assert.equal(answer.code, 0, answer.stderr);
      return answer.stdout;
    };
    docker(['secret', 'create', '--label', 'katafleet.stack=katafleet', 'katafleet_key', '-'], 'x'.repeat(32));
    docker(['stack', 'deploy', '--resolve-image', 'never', '--compose-file', join(project, 'stacks/swarm.yaml'), 'katafleet']);
    const api = new ApiClient(`http://${bed.address('h1')}:7420`);
    await eventually('it is ready', 60, async () => assert.ok((await api.call<{ ready: boolean }>('GET', '/health/ready')).ready));
    const before = await serviceId('katafleet_katafleet');
    const { code, stderr } = await katafleet('h1', 'deploy', '--dial-port', '8421');
    assert.equal(code, 0, stderr);
    const run = await api.run({ image: 'build-essential', command: ['sh', '-c', 'echo by another port'] });
    assert.deepEqual([run.state, run.result?.steps[0]?.stdout], ['finished', 'by another port\n'], JSON.stringify(run));
    assert.match(stderr, /service katafleet_katafleet: updated[^]*config katafleet_config_1: removed/);
    assert.equal(await serviceId('katafleet_katafleet'), before);
    assert.equal(docker(['stack', 'services', '--format', '{{.Name}} {{.Image}}', 'katafleet']).split(' ')[0], 'katafleet_katafleet');
    assert.equal((await katafleet('h1', 'undeploy', '--volumes')).code, 0);
    assert.deepEqual(await left('katafleet'), {});
    assert.ok((await bed.docker('h1', 'image', 'inspect', '--format', '{{.Id}}', image)).startsWith('sha256:'));
  });
});
