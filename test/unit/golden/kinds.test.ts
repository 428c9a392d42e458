import assert from 'node:assert/strict';
import { join } from 'node:path';
import type { JournalExpectation } from '../../golden/make-journal.ts';
import type { KatasExpectation } from '../../golden/make-katas.ts';
import type { KindsExpectation } from '../../golden/records.ts';
import { readExpectation } from '../../support/golden.ts';
import { keptRecords } from '../../support/golden-records.ts';

/** All kinds of outcomes that a value names, at any depth. */
function kindsIn(value: unknown, found = new Set<string>()): Set<string> {
  if (typeof value !== 'object' || value === null) return found;
  for (const [key, each] of Object.entries(value)) {
    if (key === 'outcome' && typeof each === 'object' && each !== null) found.add(String((each as { kind?: unknown }).kind));
    kindsIn(each, found);
  }
  return found;
}

for (const { of, folder } of keptRecords()) {
  it(`the records of ${of} hold every kind of outcome that it knew`, async () => {
    const read = async (name: string) => readExpectation(join(await folder(), name));
    const { outcomes } = (await read('kinds.json')) as KindsExpectation;
    const { runs } = (await read('journal.json')) as JournalExpectation;
    const { documents, bundle } = (await read('katas.json')) as KatasExpectation;
    for (const place of [runs, documents.tests, bundle]) assert.deepEqual([...kindsIn(place)].sort(), outcomes.toSorted());
  });
}
