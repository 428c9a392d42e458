// Serves a step whose output comes byte by byte, in a process of its own, so that nothing else is in the heap that it measures.
// Started with --expose-gc. Argument: how many bytes. Prints how many were kept, and the largest heap meanwhile, as JSON.
import { profileOf } from '../../src/model/profile.ts';
import { Step } from '../../src/model/request.ts';
import { encodeFrame, supervisorFrame } from '../../src/protocol/frames.ts';
import { PayloadWriter } from '../../src/protocol/wire.ts';
import { executeStep } from '../../src/runs/attempt/execute.ts';
import { saying } from './hostile-supervisor.ts';

const most = Number(process.argv[2]);
const lookEvery = 100_000;
const heap = () => {
  globalThis.gc?.();
  return process.memoryUsage().heapUsed;
};

const byte = encodeFrame(supervisorFrame.stdout, Buffer.from('x'));
const ended = encodeFrame(supervisorFrame.result, Buffer.concat([new PayloadWriter().u32(1).u8(0).u32(0).u32(0).done(), Buffer.alloc(48)]));
const batch = Buffer.concat(Array.from({ length: 1_024 }, () => byte));
let [peak, seen] = [0, 0];
const before = heap();
const result = await executeStep(
  saying([...Array.from({ length: most / 1_024 }, () => batch), ended]),
  1,
  Step.parse({ argv: ['x'] }),
  profileOf({ stdout: most }),
  {
    collect: false,
    onOutput: () => {
      seen += 1;
      if (seen % lookEvery === 0) peak = Math.max(peak, heap() - before);
    },
  },
);
process.stdout.write(JSON.stringify({ kept: result.stdout.length, peak }));
