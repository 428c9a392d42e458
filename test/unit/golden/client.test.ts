import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { RecordJson } from '../../../src/model/json.ts';
import { requestOf, RunJson } from '../../../src/model/request-json.ts';
import { type ClientExpectation, makeClient } from '../../golden/make-client.ts';
import { resultByClient01, resultPrinted01 } from '../../support/client-0.1.ts';
import { assertHolds, readExpectation } from '../../support/golden.ts';
import { keptRecords } from '../../support/golden-records.ts';

for (const { of, folder } of keptRecords()) {
  describe(`what a client of ${of} knows`, () => {
    let kept: ClientExpectation;
    let now: ClientExpectation;
    before(async () => {
      kept = readExpectation(join(await folder(), 'client.json')) as ClientExpectation;
      const scratch = mkdtempSync(join(tmpdir(), 'katafleet-client-'));
      try {
        await makeClient(scratch);
        now = readExpectation(join(scratch, 'client.json')) as ClientExpectation;
      } finally {
        rmSync(scratch, { recursive: true });
      }
    });
    const today = (id: string) => now.results.find((one) => one.id === id) ?? assert.fail(`there is no ${id} any more`);

    it('is in every answer of the API, with the same values', () => {
      for (const { id, answer } of kept.results) assertHolds(today(id).answer, answer, id);
      for (const { id, answer } of kept.others) assertHolds(now.others.find((one) => one.id === id)?.answer, answer, id);
    });

    it('is in every document of run --json, with the same values', () => {
      for (const { id, printed } of kept.results) assertHolds(today(id).printed, printed, id);
    });

    it('is read by the client of today, every answer', () => {
      for (const { id, answer, result } of kept.results) assertHolds(RecordJson.parse(answer).result, result, id);
      for (const { id, answer } of kept.others) assert.equal(RecordJson.parse(answer).id, id);
    });

    it('is a request that is still taken, and means the same', () => {
      const { image, files, folders, steps, collect, back, session } = requestOf(RunJson.parse(kept.sent), {});
      const { profile, ...request } = kept.request;
      assertHolds({ image, files, folders, steps, collect, back, session }, request, 'request');
      assert.deepEqual(RunJson.parse(kept.sent).profile, profile);
    });

    it('gives the result as it was, by that client’s own code', () => {
      for (const { result, answer, printed } of [...kept.results, ...kept.results.map(({ id }) => today(id))]) {
        assertHolds(resultByClient01((answer as { result: unknown }).result), result, `${result.id}: API`);
        assertHolds(resultPrinted01(printed), result, `${result.id}: --json`);
      }
    });
  });
}
