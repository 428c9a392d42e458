import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { staticProgram } from '../support/compile.ts';
import { file, PipedSupervisor, user } from '../support/supervisor.ts';

describe('supervisor: steps', () => {
  it('reports exit codes and signals, and tells a missing command from one that cannot run', async () => {
    await using supervisor = await (await PipedSupervisor.start()).open();
    await supervisor.files(file('not-executable', 'x'));
    assert.deepEqual((await supervisor.run(['sh', '-c', 'exit 7'])).outcome, { kind: 'exited', code: 7 });
    assert.deepEqual((await supervisor.run(['sh', '-c', 'kill -SEGV $$'])).outcome, { kind: 'signalled', signal: 11 });
    const missing = await supervisor.run(['no-such-command']);
    assert.deepEqual(missing.outcome, { kind: 'exited', code: 127 });
    assert.match(missing.stderr.toString(), /^katafleet: no-such-command: No such file/);
    assert.deepEqual((await supervisor.run(['./not-executable'])).outcome, { kind: 'exited', code: 126 });
    assert.deepEqual((await supervisor.run(['true'], { cwd: '/no/such/folder' })).outcome, { kind: 'exited', code: 127 });
  });

  it('gives standard input, arguments and environment to each step', async () => {
    await using supervisor = await (await PipedSupervisor.start()).open();
    const result = await supervisor.run(['sh', '-c', 'cat; echo "$0|$1|$GIVEN|${KATAFLEET_SECRET-none}|$HOME"', 'a b', ''], {
      stdin: Buffer.from('in\n'),
      env: { GIVEN: 'x=y' },
    });
    assert.equal(result.stdout.toString(), 'in\na b||x=y|none|/tmp\n');
    assert.equal((await supervisor.run(['cat'])).stdoutBytes, 0, 'no input is left for the next step');
    assert.equal((await supervisor.run(['wc', '-c'], { stdin: Buffer.alloc(3_000_000) })).stdout.toString().trim(), '3000000');
  });

  it('runs as the sandbox user without privileges, with nothing open but 0, 1 and 2', async () => {
    await using supervisor = await (await PipedSupervisor.start()).open();
    const result = await supervisor.run([
      'sh',
      '-c',
      'id -u; grep -E "^(NoNewPrivs|CapEff|CapBnd|CapAmb|CapInh)" /proc/self/status | tr -d "\\t"; ls /proc/self/fd | tr "\\n" " "; cat /proc/self/oom_score_adj',
    ]);
    const lines = result.stdout.toString().split('\n');
    assert.equal(lines[0], String(user.uid));
    assert.ok(lines.includes('NoNewPrivs:1'));
    assert.deepEqual(
      lines.filter((line) => /^Cap(Eff|Inh|Amb)/.test(line) && !/:0+$/.test(line)),
      [],
    );
    assert.match(result.stdout.toString(), /\n0 1 2 3 1000\n$/, 'the fourth is ls’s own');
  });

  it('cuts each stream at its cap, says so, and drains the rest', async () => {
    await using supervisor = await (await PipedSupervisor.start()).open();
    const result = await supervisor.run(
      ['sh', '-c', 'head -c 3000000 /dev/zero; head -c 5 /dev/zero >&2'],
      {},
      { stdout: 1000, stderr: 5 },
    );
    assert.deepEqual([result.stdout.length, result.stdoutBytes, result.stdoutCut], [1000, 3_000_000, true]);
    assert.deepEqual([result.stderr.length, result.stderrBytes, result.stderrCut], [5, 5, false]);
  });

  it('keeps what was printed before the deadline, and kills grandchildren in other sessions', async () => {
    await using supervisor = await (await PipedSupervisor.start()).open();
    const result = await supervisor.run(
      ['sh', '-c', 'echo before; setsid sleep 1000.5 & setsid sh -c "trap \\"\\" TERM; sleep 1001.5" & sleep 1002.5'],
      { limits: { wallMs: 3_000 } },
    );
    assert.deepEqual(result.outcome, { kind: 'timed_out', clock: 'wall' });
    assert.equal(result.stdout.toString(), 'before\n');
    assert.deepEqual(await processesOf('sleep 1000.5', 'sleep 1001.5', 'sleep 1002.5'), []);
  });

  it('a program that asks to be traced by its parent goes on with its signals, and its end is told as it was', async () => {
    await using supervisor = await (await PipedSupervisor.start()).open();
    await supervisor.files(file('evil', await staticProgram('evil'), undefined, 0o755));
    const traced = await supervisor.run(['./evil', 'traced', '3']);
    assert.deepEqual([traced.outcome, traced.stdout.toString()], [{ kind: 'exited', code: 3 }, 'handled\n']);
    assert.deepEqual((await supervisor.run(['./evil', 'traced', '0'])).outcome, { kind: 'signalled', signal: 11 });
    assert.equal((await supervisor.run(['sh', '-c', 'echo next'])).stdout.toString(), 'next\n');
  });

  it('does not wait for what a command leaves behind, and kills it', async () => {
    await using supervisor = await (await PipedSupervisor.start()).open();
    const result = await supervisor.run(['sh', '-c', '(sleep 1003.5; echo late) & echo done']);
    assert.deepEqual(result.outcome, { kind: 'exited', code: 0 });
    assert.equal(result.stdout.toString(), 'done\n');
    assert.deepEqual(await processesOf('sleep 1003.5'), []);
  });

  it('counts CPU time by itself', async () => {
    await using supervisor = await (await PipedSupervisor.start()).open();
    const result = await supervisor.run(['sh', '-c', 'while :; do :; done'], { limits: { cpuMs: 200, wallMs: 20_000 } });
    assert.deepEqual(result.outcome, { kind: 'timed_out', clock: 'cpu' });
  });

  it('is killed by the host’s word, and says cancelled', async () => {
    await using supervisor = await (await PipedSupervisor.start()).open();
    const cancel = new AbortController();
    const running = supervisor.run(['sh', '-c', 'echo up; sleep 1004'], {}, {}, cancel.signal);
    cancel.abort();
    assert.deepEqual((await running).outcome, { kind: 'cancelled' });
    assert.deepEqual((await supervisor.run(['true'])).outcome, { kind: 'exited', code: 0 }, 'the next step runs');
  });

  it('a program that floods its pipes without a reader of ours blocks, and its deadline still holds', async () => {
    await using supervisor = await (await PipedSupervisor.start()).open();
    const result = await supervisor.run(
      ['sh', '-c', 'yes | head -c 60000000'],
      { limits: { wallMs: 50_000 } },
      { stdout: 64 * 1024 * 1024 },
    );
    assert.equal(result.stdout.length, 60_000_000);
    assert.deepEqual(result.outcome, { kind: 'exited', code: 0 });
  });
});

/** Processes of these command lines, on the whole machine. */
async function processesOf(...commands: string[]): Promise<string[]> {
  const found: string[] = [];
  for (const pid of await readdir('/proc')) {
    if (!/^\d+$/.test(pid)) continue;
    const line = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
    if (commands.includes(line.split('\0').join(' ').trim())) found.push(pid);
  }
  return found;
}
