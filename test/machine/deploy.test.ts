import assert from 'node:assert/strict';
import type { Machine } from '../support/machine.ts';
import { clone, katafleet, settled } from '../support/newcomer.ts';

const hour = 3_600_000;
/** Longer than the two minutes that a machine of the usual speed is given. */
const patience = ['--timeout', '20m'];

describe('katafleet as a service of an ordinary machine with one CPU', function () {
  this.timeout(3 * hour);
  let machine: Machine;
  before(async () => {
    machine = await settled();
    await machine.sh('docker swarm leave --force >/dev/null 2>&1 || true');
    assert.equal((await machine.sh('nproc')).trim(), '1');
  });

  const must = async (...words: string[]): Promise<string> => {
    const { code, stdout, stderr } = await katafleet(machine, ...words);
    assert.equal(code, 0, `${words.join(' ')}: ${stderr}${stdout}`);
    return stdout;
  };
  /** What a program prints that the service runs; `katafleet run` would go to the engine itself, past the service. */
  const printed = async (address: string, ...command: string[]): Promise<string | undefined> => {
    const run = JSON.stringify({ image: 'build-essential', files: { file: '' }, command, profile: { wallMs: 60_000 } });
    const words = ['curl', '-sS', '--fail-with-body', '-H', 'content-type: application/json', '-d', run, `${address}/v1/runs?wait=600`];
    const { code, stdout, stderr } = await machine.on(words);
    assert.equal(code, 0, stdout + stderr);
    return (JSON.parse(stdout) as { result?: { steps: { stdout: string }[] } }).result?.steps[0]?.stdout;
  };
  /** All that carries the stack's label, of every kind. */
  const left = (kinds: string) =>
    machine.sh(
      `for kind in ${kinds}; do docker $kind ls -q --filter label=katafleet.stack=katafleet; done; docker ps -aq --filter label=katafleet.stack=katafleet`,
    );

  it('is deployed by Compose, runs a program, and goes without a trace', async () => {
    const address = (await must('deploy', ...patience)).trim();
    assert.equal(address, 'http://127.0.0.1:7420');
    assert.equal(await printed(address, 'echo', 'by Compose'), 'by Compose\n');
    assert.equal((await machine.sh('docker inspect --format "{{.HostConfig.NanoCpus}}" katafleet-katafleet-1')).trim(), '1000000000');
    // On loopback alone.
    assert.match(await machine.sh('ss -Hltn sport = :7420'), /127\.0\.0\.1:7420/);
    await must('undeploy', '--volumes', ...patience);
    assert.equal(await left('network volume'), '');
  });

  it('is deployed as a service of a swarm, runs a program under AppArmor, and goes without a trace', async () => {
    await machine.sh('docker swarm init --advertise-addr $(hostname -I | cut -d" " -f1)');
    const address = (await must('deploy', ...patience)).trim();
    assert.match(address, /^http:\/\/10\.89\.0\.\d+:7420$/);
    assert.equal(await printed(address, 'cat', '/proc/self/attr/current'), 'docker-default (enforce)\n');
    await must('undeploy', '--volumes', ...patience);
    assert.equal(await left('service secret config network volume'), '');
    await machine.sh('docker swarm leave --force');
  });

  it('leaves nothing broken if it can’t start', async () => {
    await machine.sh('docker swarm init --advertise-addr $(hostname -I | cut -d" " -f1)');
    const words = `cd ${clone} && KATAFLEET_CPUS=2 node dist/main.js deploy --timeout 20m`;
    const { code, stderr } = await machine.on(['bash', '-c', words]);
    assert.deepEqual([code, /Range of CPUs[^]*KATAFLEET_CPUS says how many/.test(stderr)], [69, true], stderr);
    assert.equal(await left('service secret config network'), '');
    await machine.sh('docker swarm leave --force');
  });
});
