import assert from 'node:assert/strict';
import fc from 'fast-check';
import { comparePlaces, EventId, eventId, eventJson, placeOf, RunEvent, RunEventJson } from '../../../src/model/run-event.ts';

describe('the events of a run', () => {
  it('writes an id and reads the same place', () => {
    const number = fc.nat({ max: 10 ** 12 });
    fc.assert(
      fc.property(number, number, (attempt, seq) => {
        const id = EventId.parse(eventId({ attempt, seq }));
        assert.deepEqual(placeOf(id), { attempt, seq });
      }),
    );
  });

  it('refuses what is no id', () => {
    for (const id of ['', '1', '1.', '.1', '01.1', '1.01', '-1.1', '1.1.1', '1.1e3', `1.${'9'.repeat(16)}`, ' 1.1'])
      assert.equal(EventId.safeParse(id).success, false, id);
  });

  it('orders by the attempt, then by the number in it', () => {
    const sorted = ['10.1', '2.10', '0.3', '2.9'].map(placeOf).sort(comparePlaces).map(eventId);
    assert.deepEqual(sorted, ['0.3', '2.9', '2.10', '10.1']);
  });

  it('writes output as base64, and reads the same event', () => {
    const events: RunEvent[] = [
      { id: '0.1', at: 5, type: 'queued', position: 3 },
      { id: '1.2', at: 6, type: 'stdout', step: 0, bytes: Buffer.from([0, 255, 10]) },
      { id: '1.3', at: 7, type: 'ended', state: 'failed', error: { code: 'node.lost', message: 'it is gone' } },
      { id: '1.9', at: 8, type: 'gap', from: '1.4', to: '1.9' },
    ];
    for (const event of events) {
      assert.deepEqual(RunEventJson.parse(JSON.parse(JSON.stringify(eventJson(event)))), event);
      assert.deepEqual(RunEvent.parse(event), event);
    }
  });
});
