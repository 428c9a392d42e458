import assert from 'node:assert/strict';
import fc from 'fast-check';
import { mostTail, omissionLine } from '../../../src/model/output.ts';
import { profileOf } from '../../../src/model/profile.ts';
import { Step } from '../../../src/model/request.ts';
import { encodeFrame, maxPayload, supervisorFrame } from '../../../src/protocol/frames.ts';
import { PayloadWriter } from '../../../src/protocol/wire.ts';
import { executeStep } from '../../../src/runs/attempt/execute.ts';
import { LastBytes } from '../../../src/runs/attempt/last-bytes.ts';
import { freeOutput, OutputBudget, type OutputRoom } from '../../../src/runs/room/output-budget.ts';
import { StepOutput } from '../../../src/runs/attempt/step-output.ts';
import { dispatching, jobOf } from '../../support/dispatching.ts';
import { MiB } from '../../support/fake-fleet.ts';
import { until } from '../../support/until.ts';
import { saying } from '../../support/hostile-supervisor.ts';

/** A step that prints so many bytes and then this, and what is kept of it. */
function printing(bytes: number, end: string, output: OutputRoom, live: Buffer[] = []) {
  function* sent() {
    for (let left = bytes; left > 0; left -= maxPayload)
      yield encodeFrame(supervisorFrame.stdout, Buffer.alloc(Math.min(left, maxPayload), 'x'));
    yield encodeFrame(supervisorFrame.stdout, Buffer.from(end));
    const result = new PayloadWriter().u32(0).u8(0).u32(0).u32(0);
    for (let field = 0; field < 6; field += 1) result.u64(field === 4 ? bytes + end.length : 0);
    yield encodeFrame(supervisorFrame.result, result.done());
  }
  const options = { collect: false, output, onOutput: (_step: number, _stream: string, piece: Buffer) => void live.push(piece) };
  return executeStep(saying(sent()), 0, Step.parse({ argv: ['x'] }), profileOf({ stdout: 64 * MiB, stderr: 64 * MiB }), options);
}

describe('room for output', () => {
  it('is what is free and half of what others leave; a stream beyond it is cut, and the step goes on to its end', async () => {
    const budget = new OutputBudget(8 * MiB);
    const room = budget.open();
    const live: Buffer[] = [];
    const step = await printing(20 * MiB, 'the end', room, live);
    assert.equal(step.stdout.length, freeOutput.beginning + 4 * MiB);
    assert.equal(budget.held, 4 * MiB);
    const tail = step.stdoutTail ?? assert.fail('no tail');
    assert.equal(tail.length, mostTail);
    assert.match(tail.toString(), /^x+the end$/);
    const omitted = 20 * MiB + 7 - step.stdout.length - tail.length;
    assert.deepEqual([step.stdoutCut, step.stdoutBytes, step.stdoutOmitted], [true, 20 * MiB + 7, omitted]);
    assert.deepEqual(step.outcome, { kind: 'exited', code: 0 });
    assert.ok(Buffer.concat(live).equals(Buffer.concat([step.stdout, Buffer.from(omissionLine(omitted)), tail])), 'it is told so too');
    room.close();
    assert.equal(budget.held, 0);
  });

  it('is bounded over all steps of a run and over all runs, but for what is free for each', async () => {
    const budget = new OutputBudget(8 * MiB);
    const rooms = Array.from({ length: 10 }, () => budget.open());
    let kept = 0;
    for (const room of rooms)
      for (let number = 0; number < 6; number += 1) {
        const { stdout, stdoutTail, outcome } = await printing(3 * MiB, 'end', room);
        kept += stdout.length + (stdoutTail?.length ?? 0);
        assert.equal(outcome.kind, 'exited');
        const last = Buffer.concat([stdout.subarray(-3), stdoutTail ?? Buffer.alloc(0)]).subarray(-3);
        assert.equal(last.toString(), 'end', 'an end is kept in any case');
      }
    const free = 10 * (freeOutput.beginning + freeOutput.end);
    assert.ok(kept <= free + 8 * MiB + 10 * 6 * 256, String(kept));
    const late = await printing(2 * MiB - 3, 'end', budget.open());
    assert.deepEqual([late.stdoutCut, late.stdout.length], [false, 2 * MiB]);
  });

  it('is shared so that there is something left for the next run', () => {
    const budget = new OutputBudget(1_024);
    const given = [1, 2, 3].map(() => budget.open().keep(freeOutput.beginning + 10_000, 'beginning') - freeOutput.beginning);
    assert.deepEqual(given, [512, 256, 128]);
  });

  it('cuts between letters, however they come, and tells the same as it keeps', () => {
    const letters = fc.array(fc.constantFrom('a', 'é', '€', '😀'), { minLength: 1, maxLength: 60 });
    fc.assert(
      fc.property(letters, fc.array(fc.nat(5), { minLength: 1 }), fc.nat(80), fc.nat(40), (said, sizes, most, end) => {
        const whole = Buffer.from(said.join(''));
        const left = { beginning: most, end };
        const keep: OutputRoom['keep'] = (bytes, part) => {
          const room = Math.min(bytes, left[part]);
          left[part] -= room;
          return room;
        };
        const output = new StepOutput(saying([]), 1_000, { keep });
        const told: Buffer[] = [];
        for (let at = 0, turn = 0; at < whole.length; turn += 1) {
          const size = 1 + (sizes[turn % sizes.length] ?? 0);
          told.push(output.add(whole.subarray(at, at + size)));
          at += size;
        }
        const printed = output.done(whole.length);
        const gap = printed.cut && printed.omitted > 0 ? omissionLine(printed.omitted) : '';
        const tail = printed.cut ? printed.tail : Buffer.alloc(0);
        assert.ok(!`${printed.beginning.toString()}${tail.toString()}`.includes('\ufffd'));
        assert.equal(Buffer.concat([...told, printed.rest]).toString(), `${printed.beginning.toString()}${gap}${tail.toString()}`);
        assert.ok(printed.beginning.length <= most + 3);
        if (!gap) assert.ok(Buffer.concat([printed.beginning, tail]).equals(whole));
      }),
    );
  });

  it('takes nothing for the end where an older supervisor went on dropping', () => {
    const output = new StepOutput(saying([]), 10, { keep: (bytes, part) => (part === 'end' ? bytes : 4) });
    output.add(Buffer.from('0123456789'));
    output.cut();
    const printed = output.done(1_000);
    assert.ok(printed.cut);
    assert.deepEqual([printed.beginning.toString(), printed.omitted, printed.tail.length], ['0123', 996, 0]);
  });

  it('is held by a run that runs, and given back when it is over', async () => {
    const budget = new OutputBudget(16 * MiB);
    const { dispatcher, driver, close } = await dispatching(['a'], { output: budget });
    const job = jobOf(['print', String(3 * MiB)]);
    const two = { ...job, profile: { ...job.profile, stdout: 64 * MiB }, steps: [...job.steps, Step.parse({ argv: ['hold'] })] };
    const running = dispatcher.submit(two);
    await until(() => driver('a').holding === 1);
    await until(() => budget.held === MiB + 'hold'.length);
    driver('a').letGo();
    assert.equal((await running).steps[0]?.stdout.length, 3 * MiB);
    assert.equal(budget.held, 0);
    await close();
  });
});

describe('the last bytes', () => {
  it('are those that came last, in pieces of any size', () => {
    for (const most of [0, 1, 5, 16])
      for (const size of [1, 3, 5, 7, 40]) {
        const last = new LastBytes(most);
        const all = Buffer.from(Array.from({ length: 41 }, (_, number) => number));
        for (let at = 0; at < all.length; at += size) last.add(all.subarray(at, at + size));
        assert.deepEqual(last.done(), all.subarray(all.length - most), `${most} of pieces of ${size}`);
      }
  });
});
