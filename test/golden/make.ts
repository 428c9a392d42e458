// Writes this release's golden records: npx tsx test/golden/make.ts RELEASE. README.md beside it says when.
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { Placing } from '../../src/model/placing.ts';
import { Profile } from '../../src/model/profile.ts';
import { Step } from '../../src/model/request.ts';
import { goldenFolder } from '../support/golden.ts';
import { outcomes } from './inputs.ts';
import { fullPlacing, fullProfile, fullRequestStep } from './make-journal.ts';
import { knownOutcomes, makeRecords } from './records.ts';

const release = process.argv[2] ?? '';
if (!/^\d+\.\d+(\.\d+)?$/.test(release)) throw new Error('expected a release such as 0.2: npx tsx test/golden/make.ts 0.2');
const folder = join(goldenFolder, release);
if (existsSync(folder)) throw new Error(`${folder} is there: records of a release are made once and never changed`);

/** Fails when the inputs lack what this release knows. */
function complete(what: string, there: readonly string[], wanted: readonly string[]): void {
  const missing = wanted.filter((name) => !there.includes(name));
  if (missing.length > 0) throw new Error(`the inputs beside this file lack ${what}: ${missing.join(', ')}`);
}
const kinds = outcomes.map(({ kind }) => kind);
complete('kinds of outcomes', kinds, knownOutcomes());
complete('limits', Object.keys(fullProfile), Object.keys(Profile.shape));
complete('fields of a step', Object.keys(fullRequestStep), Object.keys(Step.shape));
complete('fields of a placing', Object.keys(fullPlacing), Object.keys(Placing.shape));

mkdirSync(folder);
await makeRecords(folder);
