import assert from 'node:assert/strict';
import type Dockerode from 'dockerode';
import type { Katafleet } from '../../src/app/library.ts';
import { sh, stderr, stdout, testFleet } from '../support/fleet.ts';

const MiB = 1024 * 1024;

describe('outcomes, in real containers', () => {
  let fleet: Katafleet;
  before(() => (fleet = testFleet()));
  after(() => fleet.close());

  it('exited, with the program’s own code', async () => {
    const result = await sh(fleet, 'echo out; echo err >&2; exit 42');
    assert.deepEqual(result.outcome, { kind: 'exited', code: 42 });
    assert.deepEqual([stdout(result), stderr(result)], ['out\n', 'err\n']);
  });

  it('standard output and standard error can be opened by name', async () => {
    const result = await sh(fleet, 'echo out | sort -o /dev/stdout; echo err | tee /dev/stderr >/dev/null; echo more > /dev/stderr');
    assert.deepEqual([stdout(result), stderr(result)], ['out\n', 'err\nmore\n']);
  });

  it('signalled', async () => {
    assert.deepEqual((await sh(fleet, 'kill -ABRT $$')).outcome, { kind: 'signalled', signal: 6 });
  });

  it('out of memory: a hog is killed by the cgroup, what it printed before is kept', async () => {
    const result = await sh(fleet, `echo before; tail /dev/zero`, { profile: { memory: 64 * MiB } });
    assert.deepEqual(result.outcome, { kind: 'out_of_memory' });
    assert.equal(stdout(result), 'before\n');
    assert.ok((result.steps[0]?.oomKills ?? 0) >= 1);
  });

  it('out of memory, though only a child was killed and the command itself exits with 0', async () => {
    const handled = await sh(fleet, 'tail /dev/zero; echo went on; exit 3', { profile: { memory: 64 * MiB } });
    assert.deepEqual(
      [handled.outcome, handled.steps[0]?.exitCode, stdout(handled)],
      [{ kind: 'out_of_memory' }, 3, 'went on\n'],
      'the code of the command that handled it is told too',
    );
    const hog = await sh(fleet, 'exec tail /dev/zero', { profile: { memory: 64 * MiB } });
    assert.deepEqual([hog.outcome, hog.steps[0]?.exitCode], [{ kind: 'out_of_memory' }, undefined]);
  });

  it('timed out: partial output is kept, a fork bomb and a sleeping grandchild are gone', async () => {
    const script =
      'echo partial; (setsid sleep 1000 &) ; bomb() { bomb | bomb & }; bomb 2>/dev/null; while :; do sleep 1 2>/dev/null; done';
    const result = await sh(fleet, script, { profile: { wallMs: 3_000, pids: 64 } });
    assert.deepEqual(result.outcome, { kind: 'timed_out', clock: 'wall' });
    assert.equal(stdout(result), 'partial\n');
  });

  it('timed out by CPU time, shared by all its processes', async () => {
    const result = await sh(fleet, 'for i in 1 2 3; do (while :; do :; done) & done; wait', { profile: { cpuMs: 400, wallMs: 20_000 } });
    assert.deepEqual(result.outcome, { kind: 'timed_out', clock: 'cpu' });
  });

  it('a fork bomb is held by the pids limit, and the next step runs', async () => {
    const steps = [
      { argv: ['sh', '-c', 'for i in $(seq 200); do sleep 100 & done; echo survived'] },
      { argv: ['bash', '-c', 'ls -d /proc/[0-9]* | wc -l'] },
    ];
    const result = await fleet.run({ image: 'build-essential', files: [], steps, profile: { pids: 40, wallMs: 60_000 } });
    assert.match(stderr(result), /Cannot fork|Resource temporarily unavailable/);
    assert.ok(Number(result.steps[1]?.stdout.toString()) <= 4, 'nothing of the first step is left');
  });

  it('a full disk is ENOSPC for the program, and no end of the sandbox', async () => {
    const result = await sh(fleet, 'head -c 200000000 /dev/zero > big; echo $?; rm big; echo small > small && echo fits', {
      profile: { memory: 128 * MiB, fileSize: 1024 * MiB },
    });
    assert.deepEqual(result.outcome, { kind: 'exited', code: 0 });
    assert.match(stderr(result), /No space left on device/);
    assert.deepEqual([stdout(result), result.changes.files.map(({ path }) => path)], ['1\nfits\n', ['small']]);
  });

  it('a file larger than the profile allows is a signal for the program', async () => {
    const result = await sh(fleet, 'exec head -c 2000000 /dev/zero > big', { profile: { fileSize: MiB } });
    assert.deepEqual(result.outcome, { kind: 'signalled', signal: 25 });
  });

  it('endless output is cut and the run goes on to its deadline', async () => {
    const result = await sh(fleet, 'yes', { profile: { wallMs: 3_000, stdout: 10_000 } });
    const [step] = result.steps;
    assert.deepEqual(result.outcome, { kind: 'timed_out', clock: 'wall' });
    assert.deepEqual([step?.stdout.length, step?.stdoutTail?.length, step?.stdoutCut], [10_000, 10_000, true]);
    assert.ok((step?.stdoutBytes ?? 0) > 10_000);
  });

  it('cancelled, with what was printed before', async () => {
    const cancel = new AbortController();
    const result = await fleet.run(
      { image: 'build-essential', files: [], steps: [{ argv: ['bash', '-c', 'touch made; echo going; sleep 100'] }, { argv: ['true'] }] },
      { signal: cancel.signal, onOutput: () => cancel.abort() },
    );
    assert.deepEqual(result.outcome, { kind: 'cancelled' });
    assert.deepEqual([stdout(result), result.steps.length, result.changes.files.map(({ path }) => path)], ['going\n', 1, ['made']]);
  });

  const ends: Record<string, (container: Dockerode.Container) => Promise<unknown>> = {
    'docker rm -f': (container) => container.remove({ force: true }),
    'docker stop': (container) => container.stop(),
    'docker kill -s TERM': (container) => container.kill({ signal: 'SIGTERM' }),
    'docker kill': (container) => container.kill(),
  };
  for (const [how, end] of Object.entries(ends)) {
    it(`tried again when its container ends by ${how}; the second time that is the run’s own end`, async () => {
      let kills = 0;
      const docker = await fleet.driver.client();
      const run = (mostKills: number) =>
        fleet.run(
          {
            image: 'build-essential',
            files: [],
            steps: [{ argv: ['bash', '-c', 'echo going; until [ -e /tmp/go ]; do sleep 0.1; done; echo gone'] }],
          },
          {
            onOutput: async (_step, _stream, bytes) => {
              if (!bytes.toString().includes('going')) return;
              kills += 1;
              for (const { id, running } of await fleet.driver.list()) {
                if (!running) continue;
                const container = docker.getContainer(id);
                if (kills <= mostKills) await end(container);
                else await (await container.exec({ Cmd: ['touch', '/tmp/go'] })).start({ Detach: true });
              }
            },
          },
        );
      const result = await run(1);
      assert.deepEqual([result.outcome, result.attempt, stdout(result)], [{ kind: 'exited', code: 0 }, 2, 'going\ngone\n']);
      kills = 0;
      const lost = await run(Infinity);
      assert.deepEqual([lost.outcome.kind, lost.attempt, kills], ['lost', 2, 2]);
    });
  }

  it('several steps: compile once, then cases; a required step that fails ends the run', async () => {
    const files = [
      {
        path: 'double.c',
        mode: 0o644,
        mtimeNs: 0n,
        content: Buffer.from('#include <stdio.h>\nint main(void) { int n; scanf("%d", &n); printf("%d\\n", 2 * n); }'),
      },
    ];
    const cases = [3, 21].map((number) => ({ argv: ['./double'], stdin: Buffer.from(`${number}`) }));
    const good = await fleet.run({ image: 'build-essential', files, steps: [{ argv: ['make', 'double'], required: true }, ...cases] });
    assert.deepEqual(
      good.steps.slice(1).map((step) => step.stdout.toString()),
      ['6\n', '42\n'],
    );
    const bad = await fleet.run({ image: 'build-essential', files, steps: [{ argv: ['make', 'missing'], required: true }, ...cases] });
    assert.deepEqual([bad.steps.length, bad.outcome], [1, { kind: 'exited', code: 2 }]);
  });
});
