import assert from 'node:assert/strict';
import { setImmediate as turn } from 'node:timers/promises';
import { CopyTurns } from '../../../src/fleet/inventory/copy-turns.ts';

describe('turns of image copies', () => {
  it('are two for a source and four in all, each from the least busy source', async () => {
    const turns = new CopyTurns();
    const begun: string[] = [];
    const ends: (() => void)[] = [];
    const ask = async (to: string, ...sources: string[]) => {
      const mine = await turns.take(to, () => sources);
      begun.push(`${mine?.from ?? 'none'}→${to}`);
      ends.push(() => mine?.done());
    };
    for (const to of ['1', '2', '3']) void ask(to, 'a');
    await turn();
    assert.deepEqual(begun, ['a→1', 'a→2']);
    for (const to of ['4', '5', '6']) void ask(to, 'a', 'b', 'c');
    await turn();
    assert.deepEqual(begun.slice(2), ['b→4', 'c→5'], 'the fleet has four');
    ends[0]?.();
    await turn();
    assert.deepEqual(begun.slice(4), ['a→3'], 'who waits longest goes first');
    ends[2]?.();
    await turn();
    assert.deepEqual(begun.slice(5), ['b→6']);
    for (const end of ends) end();
    assert.equal(turns.room, 4);
  });

  it('give a node one image at a time, from the sources that there are by then', async () => {
    const turns = new CopyTurns();
    const have = ['a'];
    const [first, second] = [await turns.take('x', () => have), turns.take('x', () => have)];
    have.splice(0, 1, 'b');
    first?.done();
    const next = await second;
    assert.deepEqual([first?.from, next?.from], ['a', 'b']);
    next?.done();
    assert.equal(await turns.take('x', () => []), undefined);
  });

  it('take the source that broke off only if there is no other', async () => {
    const turns = new CopyTurns();
    const last = new Set(['a']);
    const take = async (...sources: string[]) => {
      const mine = await turns.take('x', () => sources, { last });
      mine?.done();
      return mine?.from;
    };
    assert.deepEqual([await take('a', 'b'), await take('a')], ['b', 'a']);
  });

  it('of one who no longer waits go to the next', async () => {
    const turns = new CopyTurns({ fleet: 1 });
    const first = await turns.take('x', () => ['a']);
    const gone = new AbortController();
    const [dropped, waits] = [turns.take('y', () => ['a'], { signal: gone.signal }), turns.take('z', () => ['a'])];
    gone.abort(new Error('no longer'));
    await assert.rejects(dropped, /no longer/);
    first?.done();
    assert.equal((await waits)?.from, 'a');
  });
});
