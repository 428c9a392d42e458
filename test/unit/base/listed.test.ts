import assert from 'node:assert/strict';
import { listed } from '../../../src/base/listed.ts';

describe('listed', () => {
  it('shows all items where they are few', () => {
    assert.equal(listed([], 2), '');
    assert.equal(listed(['a', 'b'], 2), 'a, b');
  });

  it('shows the first items and says how many more there are', () => {
    assert.equal(listed(['a', 'b', 'c', 'd'], 2), 'a, b and 2 more');
  });

  it('joins the items by the words that it is given', () => {
    assert.equal(listed(['a: x, y', 'b: z', 'c: z'], 2, { separator: '; ', and: '; and ' }), 'a: x, y; b: z; and 1 more');
  });
});
