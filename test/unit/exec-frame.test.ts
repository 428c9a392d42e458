import assert from 'node:assert/strict';
import fc from 'fast-check';
import { limitNames, limitOf } from '../../src/model/limits.ts';
import { profileOf } from '../../src/model/profile.ts';
import { hostFrame } from '../../src/protocol/frames.ts';
import { decodeExec, encodeExec, type Execution, execNumbers } from '../../src/protocol/requests.ts';
import { anExecution } from '../support/execution.ts';

type ExecName = (typeof execNumbers)[number]['name'];
const golden: Execution = anExecution({
  ...{ step: 0x01020304, keepNetwork: true, collect: true, ipc: false, tails: { stdout: 0x41, stderr: 0x42 } },
  ...{ wallMs: 0x11, cpuMs: 0x12, stdout: 0x13, stderr: 0x14, fileSize: 0x15_0000_0000, processes: 0x16, openFiles: 0x17, stack: 0x18 },
  ...{ cwd: '/w', argv: ['a', 'bc'], env: ['X=1'] },
});
const goldenPayload = [
  '01020304', // step
  '0f', // flags
  '00000011', // wallMs
  '00000012', // cpuMs
  '0000000000000013', // stdout
  '0000000000000014', // stderr
  '0000001500000000', // fileSize
  '00000016', // processes
  '00000017', // openFiles
  '0000000000000018', // stack
  '0002' + '2f77', // cwd
  '0002' + '0001' + '61' + '0002' + '6263', // argv
  '0001' + '0003' + '583d31', // env
  '00000041' + '00000042', // tails
].join('');

describe('EXEC', () => {
  it('has the bytes that docs/protocol.md describes, number by number in the order of their places', () => {
    const length = (goldenPayload.length / 2).toString(16).padStart(8, '0');
    assert.equal(encodeExec(golden)?.toString('hex'), hostFrame.exec.toString(16).padStart(2, '0') + length + goldenPayload);
  });

  it('has a place of its own for every number, from 1 on without a gap, wide enough for the limit', () => {
    assert.deepEqual(
      execNumbers.map(({ place }) => place),
      execNumbers.map((_, index) => index + 1),
    );
    for (const name of limitNames) {
      const { exec, max = 0, at } = limitOf(name);
      assert.equal(exec !== undefined, at === 'step', `${name}: what acts on a step travels with it`);
      if (exec) assert.ok(max < 2 ** exec.bits, name);
    }
  });

  it('is read as it was written', () => {
    const count = (bits: number) => fc.integer({ min: 0, max: bits === 32 ? 0xffff_ffff : Number.MAX_SAFE_INTEGER });
    const numbers = fc.record(
      Object.fromEntries(execNumbers.map(({ name, bits }) => [name, count(bits)])) as Record<ExecName, fc.Arbitrary<number>>,
    );
    const texts = fc.array(fc.string({ maxLength: 20, unit: 'binary' }), { maxLength: 5 });
    const tails = fc.option(fc.record({ stdout: count(32), stderr: count(32) }), { nil: undefined });
    fc.assert(
      fc.property(
        numbers,
        texts,
        texts,
        fc.boolean(),
        fc.boolean(),
        fc.boolean(),
        tails,
        (some, argv, env, keepNetwork, collect, ipc, ends) => {
          const more = { argv, env, keepNetwork, collect, ipc, ...(ends ? { tails: { ...ends } } : {}) };
          const said = { step: 7, cwd: '/w', ...more, ...some };
          assert.deepEqual(decodeExec((encodeExec(said) ?? assert.fail()).subarray(5)), said);
        },
      ),
    );
  });

  it('is refused if it has too few or too many bytes', () => {
    const payload = (encodeExec(golden) ?? assert.fail()).subarray(5);
    assert.throws(() => decodeExec(payload.subarray(0, -1)), /too short/);
    assert.throws(() => decodeExec(Buffer.concat([payload, Buffer.alloc(1)])), /left over/);
  });

  it('carries the numbers of a profile by their own names', () => {
    const exec = decodeExec((encodeExec(anExecution()) ?? assert.fail()).subarray(5));
    const profile = profileOf();
    for (const { name } of execNumbers) if (name !== 'processes') assert.equal(exec[name], profile[name]);
  });
});
