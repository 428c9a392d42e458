import assert from 'node:assert/strict';
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { KatafleetError } from '../../../src/model/errors.ts';
import { Journal } from '../../../src/store/journal.ts';
import type { JournalExpectation } from '../../golden/make-journal.ts';
import { assertHolds, readExpectation } from '../../support/golden.ts';
import { allRecords } from '../../support/golden-records.ts';

for (const { of, folder: records } of allRecords()) {
  describe(`a journal of ${of}`, () => {
    let folder: string;
    let journal: Journal;
    let expected: JournalExpectation;
    before(async () => {
      const from = await records();
      folder = mkdtempSync(join(tmpdir(), 'katafleet-golden-'));
      copyFileSync(join(from, 'journal.db'), join(folder, 'journal.db'));
      expected = readExpectation(join(from, 'journal.json')) as JournalExpectation;
      journal = Journal.open(join(folder, 'journal.db'));
    });
    after(() => {
      journal.close();
      rmSync(folder, { recursive: true });
    });

    it('belongs to the same fleet as before', () => {
      const { identity, since, epoch } = journal;
      assertHolds({ identity, since, epoch }, { identity: expected.identity, since: expected.since, epoch: expected.epoch }, 'journal');
    });

    it('gives every run with its attempts, its result and its error', () => {
      for (const run of expected.runs) assertHolds(journal.get(String(run['id'])), run, String(run['id']));
    });

    it('lists the runs, newest first, and counts them', () => {
      const newestFirst = expected.runs.toSorted((a, b) => Number(b['acceptedAt']) - Number(a['acceptedAt']));
      assert.deepEqual(
        journal.list({ limit: 1_000 }).map(({ id }) => id),
        newestFirst.map(({ id }) => id),
      );
      assertHolds(journal.counts(), expected.counts, 'counts');
    });

    it('gives the requests of the runs that are not over, in the order of their acceptance', () => {
      assertHolds([...journal.unfinished()], expected.unfinished, 'unfinished');
      for (const [id, request] of Object.entries(expected.requests)) assertHolds(journal.request(id), request, id);
    });

    it('knows an idempotency key again, and refuses it for another request', () => {
      for (const { tenant, key, said, id } of expected.known) {
        assert.equal(journal.known(tenant, key, said), id);
        assert.throws(
          () => journal.known(tenant, key, { ...said, other: true }),
          (error) => error instanceof KatafleetError && error.code === 'request.conflict',
        );
      }
    });

    it('knows when an image was last used', () => {
      assertHolds(Object.fromEntries(journal.imageUses()), expected.imageUses, 'images');
    });

    it('gives what people decided about nodes, what happened to nodes and how maintenance went', () => {
      const byName = journal.nodeSettings().sort((a, b) => (a.name < b.name ? -1 : 1));
      assertHolds(byName, expected.nodeSettings, 'settings');
      assertHolds(journal.events({ limit: 1_000 }), expected.events, 'events');
      for (const [job, record] of Object.entries(expected.maintenance)) assertHolds(journal.maintenance(job), record, job);
    });

    it('gives a large file of a result piece by piece', async () => {
      const { result } = journal.look('large') ?? {};
      const file = result?.changes.files.find(({ path }) => path === 'large-text');
      assert.ok(file && !Buffer.isBuffer(file.content));
      const pieces: Buffer[] = [];
      for await (const piece of file.content.read()) pieces.push(piece);
      assert.deepEqual([file.content.utf8, pieces.length], [true, 2]);
    });
  });
}
