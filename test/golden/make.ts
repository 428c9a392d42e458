// Writes this release's golden records: npx tsx test/golden/make.ts RELEASE. README.md beside it says when.
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Placing } from '../../src/model/placing.ts';
import { Profile } from '../../src/model/profile.ts';
import { omissions, Outcome, Step } from '../../src/model/run.ts';
import { goldenFolder, goldenJson } from '../support/golden.ts';
import { outcomes } from './inputs.ts';
import { fullPlacing, fullProfile, fullRequestStep, makeJournal } from './make-journal.ts';
import { makeKatas } from './make-katas.ts';

const release = process.argv[2] ?? '';
if (!/^\d+\.\d+(\.\d+)?$/.test(release)) throw new Error('expected a release such as 0.2: npx tsx test/golden/make.ts 0.2');
const folder = join(goldenFolder, release);
if (existsSync(folder)) throw new Error(`${folder} is there: records of a release are made once and never changed`);

/** Says what the inputs lack that this release knows. */
function complete(what: string, there: Iterable<string>, wanted: readonly string[]): void {
  const has = new Set(there);
  const missing = wanted.filter((name) => !has.has(name));
  if (missing.length > 0) throw new Error(`the inputs beside this file lack ${what}: ${missing.join(', ')}`);
}
const kinds = Outcome.options.map(({ shape }) => shape.kind.value);
complete(
  'kinds of outcomes',
  outcomes.map(({ kind }) => kind),
  kinds,
);
complete('limits', Object.keys(fullProfile), Object.keys(Profile.shape));
complete('fields of a step', Object.keys(fullRequestStep), Object.keys(Step.shape));
complete('fields of a placing', Object.keys(fullPlacing), Object.keys(Placing.shape));

mkdirSync(folder, { recursive: true });
writeFileSync(join(folder, 'kinds.json'), goldenJson({ outcomes: kinds, omissions }));
makeJournal(folder);
await makeKatas(folder);
