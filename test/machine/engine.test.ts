import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { Machine } from '../support/machine.ts';
import { katafleet, settled } from '../support/newcomer.ts';

const project = fileURLToPath(new URL('../../', import.meta.url));
const hour = 3_600_000;

describe('the engine of an ordinary machine', function () {
  this.timeout(3 * hour);
  let machine: Machine;
  let engine: { endpoint: string; close: () => void };
  before(async () => {
    machine = await settled();
    engine = await machine.engine();
  });
  after(() => engine?.close());

  it('runs programs under AppArmor, with seccomp, no capability, and limits that the kernel enforces', async () => {
    await machine.sh('mkdir -p /tmp/kata && touch /tmp/kata/file');
    const look = 'cat /proc/self/attr/current; grep -E "^(CapEff|CapBnd|NoNewPrivs|Seccomp):" /proc/self/status';
    const { code, stdout, stderr } = await katafleet(machine, 'run', '/tmp/kata', '-q', '-t', '60s', '--', 'sh', '-c', look);
    const none = '0'.repeat(16);
    const expected = ['docker-default (enforce)', `CapEff:\t${none}`, `CapBnd:\t${none}`, 'NoNewPrivs:\t1', 'Seccomp:\t2'];
    assert.deepEqual([code, stdout.trim().split('\n')], [0, expected], stderr);
    const doctor = await katafleet(machine, 'doctor');
    assert.match(doctor.stdout, /cgroup v2/);
    assert.equal(doctor.code, 0, doctor.stdout);
  });

  // The tests run here and the engine there, by its socket: the machine is slow enough with the engine alone.
  for (const suite of ['driver-contract', 'outcomes', 'isolation']) {
    it(`passes ${suite}`, async () => {
      const words = ['node_modules/.bin/mocha', '--timeout', '900000', `test/integration/${suite}.test.ts`];
      const child = spawn(process.execPath, words, {
        cwd: project,
        env: { ...process.env, DOCKER_HOST: engine.endpoint },
        stdio: 'inherit',
      });
      assert.deepEqual(await once(child, 'close'), [0, null]);
    });
  }
});
