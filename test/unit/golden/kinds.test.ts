import assert from 'node:assert/strict';
import type { JournalExpectation } from '../../golden/make-journal.ts';
import type { KatasExpectation } from '../../golden/make-katas.ts';
import { readExpectation, releases } from '../../support/golden.ts';

/** All kinds of outcomes that a value names, at any depth. */
function kindsIn(value: unknown, found = new Set<string>()): Set<string> {
  if (typeof value !== 'object' || value === null) return found;
  for (const [key, each] of Object.entries(value)) {
    if (key === 'outcome' && typeof each === 'object' && each !== null) found.add(String((each as { kind?: unknown }).kind));
    kindsIn(each, found);
  }
  return found;
}

for (const release of releases()) {
  it(`the records of release ${release} hold every kind of outcome of that release`, () => {
    const { outcomes } = readExpectation(release, 'kinds.json') as { outcomes: string[] };
    const { runs } = readExpectation(release, 'journal.json') as JournalExpectation;
    const { documents, bundle } = readExpectation(release, 'katas.json') as KatasExpectation;
    for (const place of [runs, documents.tests, bundle]) assert.deepEqual([...kindsIn(place)].sort(), outcomes.toSorted());
  });
}
