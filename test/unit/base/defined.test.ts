import assert from 'node:assert/strict';
import { defined } from '../../../src/base/defined.ts';

describe('defined', () => {
  it('leaves out fields that are undefined, and keeps null, false, 0 and empty texts', () => {
    const fields = defined({ a: 1, b: undefined, c: null, d: false, e: 0, f: '' });
    assert.deepEqual(Object.keys(fields), ['a', 'c', 'd', 'e', 'f']);
    const { a }: { a?: number } = fields;
    assert.equal(a, 1);
  });
});
