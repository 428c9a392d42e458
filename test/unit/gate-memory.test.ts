import assert from 'node:assert/strict';
import { GateRig, sandboxRun } from '../support/gate.ts';

/** A run as the driver writes it for a kernel without memory cgroups. */
const unlimited = sandboxRun().join(' ').replace(' --memory-swap 67108864', '');
const lacking = 'WARNING: No memory limit support';

describe('katafleet-gate: a run without a limit of swap', () => {
  it('is admitted where the engine says that its kernel has no memory limits', () => {
    using rig = new GateRig([], { warning: lacking });
    assert.equal(rig.ask(unlimited).admitted?.join(' '), unlimited.replace(/^docker /, ''));
    assert.equal(rig.ask(sandboxRun().join(' ')).code, 0, 'newer engines take both words there');
  });

  it('is refused where the engine does not say so, and so is any other limit of swap', () => {
    for (const [warning, line] of [
      ['', unlimited],
      ['WARNING: No swap limit support', unlimited],
      [lacking, unlimited.replace('-m 67108864', '-m 67108864 --memory-swap -1')],
      [lacking, unlimited.replace('-m 67108864', '-m 67108864 --memory-swap 0')],
      [lacking, unlimited.replace(' -m 67108864', '')],
    ] as const) {
      using rig = new GateRig([], { warning });
      const { code, admitted, stderr } = rig.ask(line);
      assert.deepEqual([code, admitted], [126, undefined], line);
      assert.match(stderr, /^katafleet-gate: refused: expected /);
    }
  });
});
