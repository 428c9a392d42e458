import assert from 'node:assert/strict';
import { Backoff, backoffMs } from '../../../src/base/backoff.ts';

describe('Backoff', () => {
  it('doubles the pause with each failure, up to the longest', () => {
    const backoff = new Backoff({ firstMs: 250, mostMs: 1_500 });
    assert.equal(backoff.ms, 0);
    assert.deepEqual(
      [1, 2, 3, 4, 5].map(() => backoff.failed()),
      [250, 500, 1_000, 1_500, 1_500],
    );
    assert.equal(backoff.ms, 1_500);
  });

  it('begins anew after a success', () => {
    const backoff = new Backoff({ firstMs: 50, mostMs: 5_000 });
    backoff.failed();
    backoff.failed();
    backoff.succeeded();
    assert.equal(backoff.ms, 0);
    assert.equal(backoff.failed(), 50);
  });

  it('stays at the longest pause however often it fails', () => {
    assert.equal(backoffMs(100_000, { firstMs: 1, mostMs: 5_000 }), 5_000);
  });

  it('grows by the factor that it is given', () => {
    assert.deepEqual(
      [0, 1, 2, 3, 20].map((failures) => backoffMs(failures, { firstMs: 20, mostMs: 500, factor: 1.5 })),
      [20, 20, 30, 45, 500],
    );
  });
});
