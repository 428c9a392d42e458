import assert from 'node:assert/strict';
import { SandboxLedger } from '../../../src/fleet/node/sandbox-ledger.ts';
import { UidBook } from '../../../src/fleet/node/uids.ts';

function aLedger() {
  const released: number[] = [];
  let rooms = 0;
  const uids = new UidBook({ first: 1_000, count: 1 });
  const books = { reserve: () => true, release: (bytes: number) => void released.push(bytes) };
  const ledger = new SandboxLedger({ books, uids, onRoom: () => (rooms += 1) });
  return { ledger, released, rooms: () => rooms };
}

describe('the ledger of a node’s sandboxes', () => {
  it('releases the memory of a sandbox once, when it is known to be gone', () => {
    const { ledger, released, rooms } = aLedger();
    const name = ledger.begin(100);
    ledger.rebook(name, 40);
    assert.deepEqual([...ledger.inUse], [name]);
    ledger.gone(name);
    ledger.gone(name);
    assert.deepEqual({ released, rooms: rooms(), inUse: ledger.inUse.size }, { released: [40], rooms: 1, inUse: 0 });
  });

  it('keeps the memory of an abandoned sandbox booked, and lists it as doubtful', () => {
    const { ledger, released } = aLedger();
    const name = ledger.begin(100);
    assert.deepEqual(ledger.doubtful, []);
    ledger.abandon(name);
    assert.deepEqual({ doubtful: ledger.doubtful, released }, { doubtful: [name], released: [] });
    ledger.gone(name);
    assert.deepEqual({ doubtful: ledger.doubtful, released }, { doubtful: [], released: [100] });
  });

  it('names sandboxes so that another ledger of the process does not take them for its own', () => {
    const [one, other] = [aLedger().ledger, aLedger().ledger];
    const names = [one.begin(1), one.begin(1)];
    assert.equal(new Set(names).size, 2);
    assert.ok(names.every((name) => name.startsWith(`${one.id}/`) && !name.startsWith(other.id)));
  });
});
