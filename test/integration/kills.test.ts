import assert from 'node:assert/strict';
import { killStorm } from '../stress/kill-storm.ts';
import { endpoint } from '../support/fleet.ts';

const seed = Date.now() % 1_000_000;

describe('kill -9 of katafleet at random moments under load (the whole of it: npm run test:kills)', function () {
  this.timeout(300_000);

  it(`every acknowledged run has its one end, no other ran twice, and nothing is left over (seed ${seed})`, async () => {
    const report = await killStorm({ endpoint, kills: 5, clients: 4, seed });
    const { findings, surprises, leftOver, acknowledged, executed, unacknowledged, diedInStart } = report;
    assert.deepEqual({ findings, surprises, leftOver }, { findings: [], surprises: [], leftOver: [] }, `seed ${seed}`);
    assert.ok(acknowledged > 0 && executed.once > 0, 'there was a load');
    console.log(
      `      ${acknowledged} acknowledged, ${unacknowledged.stored} stored without an answer, ${executed.again} executed again, ${diedInStart} kills in a start`,
    );
  });
});
