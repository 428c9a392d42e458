import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import type { Katafleet, RunRequest, RunResult } from '../../src/app/library.ts';
import { fakeSsh } from '../support/fake-ssh.ts';
import { sh, stdout } from '../support/fleet.ts';
import { sshFleet } from '../support/ssh-fleet.ts';
import { oldDocker } from '../support/testbed.ts';

const outOfMemory = { kind: 'out_of_memory' };
const limits = { profile: { memory: 64 * 1024 ** 2, wallMs: 60_000 } };
/** What is killed right after the start is not told by 1.6: its daemon listens a moment later. */
const listening = 'sleep 0.3;';

/** The docker that behaves as 1.6.2 over the tests' engine, as under AppArmor. A testbed's engine has no word on memory. */
describe('memory on Docker 1.6.2, where the supervisor may mount nothing and the engine is asked', function () {
  this.timeout(120_000);
  const folder = mkdtempSync(join(tmpdir(), 'katafleet-ssh-memory-'));
  const path = process.env['PATH'];
  let fleet: Katafleet;
  before(async () => {
    writeFileSync(join(folder, 'ssh'), fakeSsh, { mode: 0o755 });
    Object.assign(process.env, {
      PATH: [folder, dirname(oldDocker), path].join(delimiter),
      LOG: '/dev/null',
      DOCKER16_WITHOUT: 'mounts',
    });
    fleet = await sshFleet([
      {
        name: 'here',
        endpoint: 'ssh://here',
        labels: {},
        driver: 'auto',
        reserve: { share: 0 },
        withoutMemoryLimits: false,
        cordoned: false,
      },
    ]);
  });
  after(async () => {
    await fleet?.close();
    process.env['PATH'] = path;
    delete process.env['LOG'];
    delete process.env['DOCKER16_WITHOUT'];
    rmSync(folder, { recursive: true, force: true });
  });

  it('out of memory is told, whoever was killed', async () => {
    for (const script of ['tail /dev/zero', 'tail /dev/zero; exit 0', 'tail /dev/zero; exit 3']) {
      const result = await sh(fleet, `echo before; ${listening} ${script}`, limits);
      const [step] = result.steps;
      assert.deepEqual([result.outcome, step?.outcome, step?.oomKills, stdout(result)], [outOfMemory, outOfMemory, 1, 'before\n'], script);
    }
    assert.deepEqual((await sh(fleet, 'echo made > new; exit 3', limits)).outcome, { kind: 'exited', code: 3 });
  });

  it('of several steps, blames the first one that failed', async () => {
    const steps = ['exit 0', `${listening} tail /dev/zero`, 'exit 0'].map((script) => ({ argv: ['bash', '-c', script] }));
    const result = await fleet.run({ image: 'build-essential', files: [], steps, ...limits });
    assert.deepEqual(
      [result.outcome, result.steps.map(({ outcome }) => outcome.kind)],
      [outOfMemory, ['exited', 'out_of_memory', 'exited']],
    );
  });

  it('a session keeps its sandbox as long as all goes well', async () => {
    const run = (script: string, more: Partial<RunRequest> = {}): Promise<RunResult> =>
      sh(fleet, script, { ...limits, session: 's', ...more });
    await run('echo kept > left');
    const well = await run('cat left');
    assert.deepEqual([well.resumed, stdout(well)], [true, 'kept\n']);
    const killed = await run(`${listening} tail /dev/zero; exit 3`);
    assert.deepEqual([killed.resumed, killed.outcome], [true, outOfMemory]);
    const failed = await run('exit 1');
    assert.deepEqual([failed.resumed, failed.outcome], [false, { kind: 'exited', code: 1 }]);
    assert.equal((await run('true')).resumed, false, 'its sandbox was ended to ask the engine');
  });
});
