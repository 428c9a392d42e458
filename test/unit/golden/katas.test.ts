import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { readKataRecord, readStamps, readTestRecord } from '../../../src/katas/record.ts';
import type { KataFiles } from '../../../src/katas/kata-files.ts';
import type { Katas } from '../../../src/katas/store.ts';
import type { AvatarExpectation, KatasExpectation } from '../../golden/make-katas.ts';
import { assertHolds, readExpectation } from '../../support/golden.ts';
import { allRecords } from '../../support/golden-records.ts';
import { testStore } from '../../support/katas.ts';

const listed = <T>(entries: ReadonlyMap<string, T>) =>
  Array.from(entries, ([path, entry]) => ({ path, ...entry })).sort((a, b) => (a.path < b.path ? -1 : 1));

/** The avatar's history, every test and all files are as expected. */
async function assertAvatar(katas: Katas, kata: string, avatar: string, expected: AvatarExpectation): Promise<void> {
  assertHolds(await katas.log(kata, avatar), expected.log, `${avatar}: log`);
  for (const [test, told] of Object.entries(expected.tests))
    assertHolds(await katas.show(kata, avatar, Number(test)), told, `${avatar}: test ${test}`);
  const { files, folders }: KataFiles = await katas.files(kata, avatar, { hidden: true });
  assertHolds({ files: listed(files), folders: listed(folders) }, { files: expected.files, folders: expected.folders }, avatar);
}

for (const { of, folder } of allRecords()) {
  describe(`katas of ${of}`, () => {
    let from: string;
    let expected: KatasExpectation;
    const document = (name: string) => readFileSync(join(from, 'documents', name));
    let store: Awaited<ReturnType<typeof testStore>>;
    before(async () => {
      from = await folder();
      expected = readExpectation(join(from, 'katas.json')) as KatasExpectation;
    });
    beforeEach(async () => (store = await testStore()));
    afterEach(() => store.dispose());

    it('in a folder are listed, and the commits that were owed are made', async () => {
      execFileSync('tar', ['-xf', join(from, 'katas.tar'), '-C', store.folder]);
      const owed = await store.katas.recover();
      assert.deepEqual([owed, store.troubles], [expected.recovered, []]);
      const katas = await store.katas.list();
      assertHolds(
        katas.map(({ kata }) => kata).sort((a, b) => (a.id < b.id ? -1 : 1)),
        expected.katas,
        'katas',
      );
      for (const [name, avatar] of Object.entries(expected.avatars)) {
        const [kata = '', of = ''] = name.split('/');
        await assertAvatar(store.katas, kata, of, avatar);
      }
    });

    it('in a folder can be tested again', async () => {
      execFileSync('tar', ['-xf', join(from, 'katas.tar'), '-C', store.folder]);
      for (const [name, { tests }] of Object.entries(expected.avatars)) {
        const [kata = '', avatar = ''] = name.split('/');
        const tested = await store.katas.test(kata, avatar, undefined);
        await tested.committed;
        assert.equal(tested.test, Object.keys(tests).length + 1, name);
      }
    });

    it('in a bundle come in as they were', async () => {
      await store.katas.import(join(from, 'kata.bundle'));
      const { kata, avatars } = expected.bundle;
      for (const [avatar, told] of Object.entries(avatars)) await assertAvatar(store.katas, kata, avatar, told);
    });

    it('have documents that say the same', () => {
      const { tests, kata, files, folders } = expected.documents;
      for (const [name, told] of Object.entries(tests)) assertHolds(readTestRecord(document(name), name), told, name);
      assertHolds(readKataRecord(document('kata.json'), 'kata.json'), kata, 'kata.json');
      const stamps = readStamps(document('files.json'));
      assertHolds({ files: listed(stamps.files), folders: listed(stamps.folders) }, { files, folders }, 'files.json');
    });
  });
}
