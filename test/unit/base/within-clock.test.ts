import assert from 'node:assert/strict';
import { within } from '../../../src/base/deadline.ts';
import { ManualClock } from '../../support/manual-clock.ts';

describe('a deadline on a clock that is handed in', () => {
  it('ends work that hangs when the clock says so', async () => {
    const clock = new ManualClock();
    const hangs = within(1_000, () => new Promise<never>(() => undefined), { clock, late: () => new Error('late') });
    clock.jump(1_000);
    await assert.rejects(hangs, /late/);
  });
});
