import assert from 'node:assert/strict';
import { z } from 'zod';
import { faultsOf } from '../../src/model/faults.ts';

describe('faultsOf', () => {
  it('names the first ten faults and says how many more there are', () => {
    const names = z.object({ names: z.array(z.string()) });
    const error = names.safeParse({ names: Array.from({ length: 13 }, (_, index) => index) }).error ?? assert.fail('the schema took it');
    const words = faultsOf(error);
    assert.match(words, /^names\.0: expected string/);
    assert.match(words, /names\.9: [^;]+; and 3 more$/);
    assert.doesNotMatch(words, /names\.10/);
  });
});
