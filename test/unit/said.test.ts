import assert from 'node:assert/strict';
import { said } from '../support/said.ts';

describe('what a command says', () => {
  it('is told though it reads none of its input', () => {
    const script = 'exec <&-; echo out; echo err >&2; exit 3';
    assert.deepEqual(said('sh', ['-c', script], { input: Buffer.alloc(1 << 20) }), { code: 3, stdout: 'out\n', stderr: 'err\n' });
  });

  it('is an error where there is no such command', () => {
    assert.throws(() => said('katafleet-no-such-command', []), { code: 'ENOENT' });
  });
});
