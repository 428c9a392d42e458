import assert from 'node:assert/strict';
import { ToldOnce } from '../../../src/base/told-once.ts';

describe('ToldOnce', () => {
  it('tells the same trouble of a thing once', () => {
    const said: string[] = [];
    const told = new ToldOnce<string>((message) => said.push(message));
    for (const message of ['x', 'x', 'y', 'y', 'x']) told.tell('a', message);
    told.tell('b', 'x');
    assert.deepEqual(said, ['x', 'y', 'x', 'x']);
  });

  it('tells it again after the thing was well', () => {
    const said: string[] = [];
    const told = new ToldOnce<string>((message) => said.push(message));
    told.tell('a', 'x');
    told.recovered('a');
    told.tell('a', 'x');
    assert.deepEqual(said, ['x', 'x']);
  });
});
