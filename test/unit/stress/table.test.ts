import assert from 'node:assert/strict';
import { faultKinds, nextPair, runStates, StrikeTable } from '../../stress/chaos/table.ts';
import { seeded } from '../../support/random.ts';

describe('the table of a storm', () => {
  it('counts strikes, and the runs that they met by state', () => {
    const table = new StrikeTable();
    table.add('cut node', ['queued', 'queued', 'executing']);
    table.add('cut node', []);
    assert.deepEqual([table.strikes('cut node'), table.count('cut node', 'queued'), table.count('cut node', 'executing')], [2, 2, 1]);
    assert.equal(table.rare(1).length, faultKinds.length * runStates.length - 2);
    assert.match(table.toString(), /^cut node +2 +2 +0 +0 +1 +0$/m);
  });

  it('seeks the pairs that struck least, and with one seed makes the same choices', () => {
    const play = () => {
      const table = new StrikeTable();
      const random = seeded(7);
      const chosen = Array.from({ length: 600 }, () => {
        const pair = nextPair(table, faultKinds, random);
        assert.ok(pair);
        table.add(pair.fault, [pair.state]);
        return pair;
      });
      assert.deepEqual(table.rare(5), []);
      return chosen;
    };
    assert.deepEqual(play(), play());
    assert.equal(nextPair(new StrikeTable(), [], seeded(1)), undefined);
  });
});
