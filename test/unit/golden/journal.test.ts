import assert from 'node:assert/strict';
import { cpSync, existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { KatafleetError } from '../../../src/model/errors.ts';
import { Store } from '../../../src/store/store.ts';
import type { JournalExpectation } from '../../golden/make-journal.ts';
import { assertHolds, readExpectation } from '../../support/golden.ts';
import { allRecords } from '../../support/golden-records.ts';

/** Whether a journal's file has tables of release 0.1. */
function isOld(file: string): boolean {
  const db = new Database(file, { readonly: true });
  try {
    return db.prepare("SELECT 1 FROM sqlite_master WHERE name LIKE 'old!_%' ESCAPE '!'").get() !== undefined;
  } finally {
    db.close();
  }
}

for (const { of, folder: records } of allRecords()) {
  for (const when of ['at once', 'after the background has moved all of it'] as const) {
    describe(`a journal of ${of}, read ${when}`, () => {
      let folder: string;
      let store: Store;
      let expected: JournalExpectation;
      before(async () => {
        const from = await records();
        folder = mkdtempSync(join(tmpdir(), 'katafleet-golden-'));
        for (const name of ['journal.db', 'journal.segments'])
          if (existsSync(join(from, name))) cpSync(join(from, name), join(folder, name), { recursive: true });
        expected = readExpectation(join(from, 'journal.json')) as JournalExpectation;
        store = await Store.open(join(folder, 'journal.db'), { thread: false });
        if (when === 'at once') return;
        await store.prune({ resultsBefore: 0, eventsBefore: 0 }); // it waits for the background
      });
      after(async () => {
        await store.close();
        assert.equal(isOld(join(folder, 'journal.db')), false, 'all was moved');
        rmSync(folder, { recursive: true });
      });

      it('belongs to the same fleet as before', () => {
        const { identity, since, epoch } = store;
        assertHolds({ identity, since, epoch }, { identity: expected.identity, since: expected.since, epoch: expected.epoch }, 'journal');
      });

      it('counts the runs and lists them, newest first', async () => {
        const newestFirst = expected.runs.toSorted((a, b) => Number(b['acceptedAt']) - Number(a['acceptedAt']));
        assert.deepEqual(
          (await store.list({ limit: 1_000 })).runs.map(({ id }) => id),
          newestFirst.map(({ id }) => id),
        );
        assertHolds(await store.counts(), expected.counts, 'counts');
      });

      it('gives the requests of the runs that are not over, in the order of their acceptance', async () => {
        // Each opening leaves a number out: an attempt may have begun that the journal does not know.
        const unfinished = expected.unfinished.map((run) => ({ ...run, lastAttempt: Number(run['lastAttempt']) + 1 }));
        assertHolds((await store.unfinished({ limit: 1_000 })).runs, unfinished, 'unfinished');
        for (const [id, request] of Object.entries(expected.requests)) assertHolds(await store.request(id), request, id);
      });

      it('knows an idempotency key again, and refuses it for another request', async () => {
        for (const { tenant, key, said, id } of expected.known) {
          assert.equal(await store.known(tenant, key, said), id);
          await assert.rejects(
            store.known(tenant, key, { ...said, other: true }),
            (error) => error instanceof KatafleetError && error.code === 'request.conflict',
          );
        }
      });

      it('gives a large file of a result piece by piece', async () => {
        const { result } = (await store.look('large')) ?? {};
        const file = result?.changes.files.find(({ path }) => path === 'large-text');
        assert.ok(file && !Buffer.isBuffer(file.content));
        const pieces: Buffer[] = [];
        for await (const piece of file.content.read()) pieces.push(piece);
        assert.deepEqual([file.content.utf8, pieces.length], [true, 2]);
      });

      it('gives every run with its attempts, its result and its error', async () => {
        for (const run of expected.runs) assertHolds(await store.get(String(run['id'])), run, String(run['id']));
        assertHolds(await store.counts(), expected.counts, 'counts');
      });

      it('knows when an image was last used', async () => {
        assertHolds(Object.fromEntries(await store.imageUses()), expected.imageUses, 'images');
      });

      it('gives what people decided about nodes, what happened to nodes and how maintenance went', async () => {
        const byName = (await store.nodeSettings()).sort((a, b) => (a.name < b.name ? -1 : 1));
        assertHolds(byName, expected.nodeSettings, 'settings');
        assertHolds(await store.events({ limit: 1_000 }), expected.events, 'events');
        for (const [job, record] of Object.entries(expected.maintenance)) assertHolds(await store.maintenance(job), record, job);
      });
    });
  }
}
