import assert from 'node:assert/strict';
import fc from 'fast-check';
import { KatafleetError } from '../../src/model/errors.ts';
import { exactBytes, exactDuration, formatBytes, formatDuration, inSeconds, parseBytes, parseDuration } from '../../src/model/quantity.ts';

describe('sizes and times in words', () => {
  it('parses a number with a unit', () => {
    assert.deepEqual(
      ['512', '64k', '256m', '1.5g', '2GiB', '10MB', ' 3 b '].map(parseBytes),
      [512, 65_536, 268_435_456, 1_610_612_736, 2_147_483_648, 10_485_760, 3],
    );
    assert.deepEqual(['10', '250ms', '10s', '1.5m', '1h', '7D'].map(parseDuration), [10_000, 250, 10_000, 90_000, 3_600_000, 604_800_000]);
  });

  it('refuses any other text, and names it', () => {
    for (const text of ['', 'x', '-1m', '1e3', '10 parsecs', '9'.repeat(30), '1t', '10 ms s']) {
      const named = (error: unknown) =>
        error instanceof KatafleetError && error.code === 'limits.invalid' && error.message.startsWith(`"${text}" is `);
      assert.throws(() => parseBytes(text), named, text);
      assert.throws(() => parseDuration(text), named, text);
    }
  });

  it('rounds a size and a time for people', () => {
    assert.deepEqual([0, 1_023, 1_536, 268_435_456, 3 * 1024 ** 5].map(formatBytes), ['0 B', '1023 B', '1.5 KiB', '256 MiB', '3072 TiB']);
    assert.deepEqual([4.21, 350, 1_250, 90_000].map(formatDuration), ['4.2 ms', '350 ms', '1.25 s', '90.00 s']);
    assert.deepEqual([0, 1_500, 30_000, 90_049].map(inSeconds), ['0 s', '1.5 s', '30 s', '90 s']);
  });

  it('writes a size and a time exactly, in the largest unit that divides it', () => {
    assert.deepEqual([0, 1_000, 1_024, 1_536, 512 * 1024 ** 2, 1024 ** 4].map(exactBytes), ['0', '1000', '1k', '1536', '512m', '1024g']);
    assert.deepEqual([0, 100, 1_000, 1_500, 600_000, 3_650 * 86_400_000].map(exactDuration), [
      '0',
      '100ms',
      '1s',
      '1500ms',
      '10m',
      '3650d',
    ]);
  });

  it('parses what it has written exactly', () => {
    fc.assert(
      fc.property(fc.maxSafeNat(), (value) => {
        assert.equal(parseBytes(exactBytes(value)), value);
        assert.equal(parseDuration(exactDuration(value)), value);
      }),
    );
  });
});
