import assert from 'node:assert/strict';
import { judgedOutput, omissionLine, shownOutput } from '../../src/model/output.ts';
import { profileOf } from '../../src/model/profile.ts';
import { Step } from '../../src/model/request.ts';
import { executeStep } from '../../src/runs/attempt/execute.ts';
import { PipedSupervisor } from '../support/supervisor.ts';

const KiB = 1024;

describe('supervisor: the end of output that is cut', () => {
  it('comes beside the beginning, and what is between is counted', async () => {
    await using supervisor = await (await PipedSupervisor.start()).open();
    const script = 'echo first; head -c 3000000 /dev/zero | tr "\\0" x; echo; echo last; echo err >&2';
    const step = await supervisor.run(['sh', '-c', script], {}, { stdout: 100 * KiB });
    const printed = 6 + 3_000_000 + 6;
    assert.deepEqual([step.stdout.length, step.stdoutTail?.length, step.stdoutBytes], [100 * KiB, 64 * KiB, printed]);
    assert.deepEqual([step.stdoutCut, step.stdoutOmitted], [true, printed - 164 * KiB]);
    assert.match(step.stdout.toString(), /^first\nx+$/);
    assert.match(step.stdoutTail?.toString() ?? '', /^x+\nlast\n$/);
    assert.deepEqual([step.stderrCut, step.stderrTail, step.stderrOmitted], [false, undefined, undefined]);
    const again = await supervisor.run(['echo', 'short']);
    assert.deepEqual([again.stdout.toString(), again.stdoutTail], ['short\n', undefined], 'nothing is left of it for the next step');
  });

  it('leaves nothing out that fits into both', async () => {
    await using supervisor = await (await PipedSupervisor.start()).open();
    for (const [bytes, tail] of [
      [1000, undefined],
      [1001, 1],
      [1999, 999],
      [2000, 1000],
    ] as const) {
      const { stdout, stdoutTail, stdoutOmitted } = await supervisor.run(['sh', '-c', `seq 5000 | head -c ${bytes}`], {}, { stdout: 1000 });
      assert.deepEqual([stdout.length, stdoutTail?.length, stdoutOmitted ?? 0], [1000, tail, 0], String(bytes));
    }
    const { stdout, stdoutTail, stdoutOmitted } = await supervisor.run(['sh', '-c', 'seq 5000 | head -c 2001'], {}, { stdout: 1000 });
    assert.deepEqual([stdout.length, stdoutTail?.length, stdoutOmitted], [1000, 1000, 1]);
    const none = await supervisor.run(['echo', 'x'], {}, { stdout: 0 });
    assert.deepEqual([none.stdout.length, none.stdoutTail, none.stdoutCut, none.stdoutOmitted], [0, undefined, true, 2]);
  });

  it('is kept however small the pieces are, on both streams, and after a timeout', async () => {
    await using supervisor = await (await PipedSupervisor.start()).open();
    const script = `i=0; while [ $i -lt 400 ]; do echo "out $i"; echo "err $i" >&2; i=$((i+1)); done; exec sleep 100`;
    const step = await supervisor.run(['sh', '-c', script], { limits: { wallMs: 5_000 } }, { stdout: 50, stderr: 70 });
    assert.deepEqual(step.outcome, { kind: 'timed_out', clock: 'wall' });
    assert.match(step.stdoutTail?.toString() ?? '', /out 397\nout 398\nout 399\n$/);
    assert.match(step.stderrTail?.toString() ?? '', /err 398\nerr 399\n$/);
    assert.deepEqual([step.stdoutTail?.length, step.stderrTail?.length], [50, 70]);
  });

  it('keeps letters of several bytes whole at both cuts, and shows the same text live', async () => {
    await using supervisor = await (await PipedSupervisor.start()).open();
    for (let cap = 10; cap < 18; cap += 1) {
      const live: Buffer[] = [];
      const step = await executeStep(
        supervisor.conversation,
        cap,
        Step.parse({ argv: ['sh', '-c', 'for i in 1 2 3 4 5 6 7 8 9; do printf "aé€😀"; done'] }),
        profileOf({ stdout: cap }),
        { collect: false, onOutput: (_step, _stream, bytes) => void live.push(bytes) },
      );
      const text = shownOutput(step, 'stdout');
      assert.doesNotMatch(text.toString(), /\ufffd/, `cap ${cap}`);
      assert.equal(Buffer.concat(live).toString(), text.toString());
      assert.equal(step.stdout.length + (step.stdoutTail?.length ?? 0) + (step.stdoutOmitted ?? 0), 90);
      assert.ok(text.includes(omissionLine(step.stdoutOmitted ?? 0)));
      assert.match(judgedOutput(step, 'stdout'), /^aé€😀[^]*\n…[^]*😀$/);
    }
  });
});
