import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Outcome } from '../../src/model/outcome.ts';
import { omissions } from '../../src/model/result.ts';
import { goldenJson } from '../support/golden.ts';
import { makeClient } from './make-client.ts';
import { makeConfig } from './make-config.ts';
import { makeJournal } from './make-journal.ts';
import { makeKatas } from './make-katas.ts';
import { makeSwarmKey } from './make-swarm-key.ts';

/** The kinds of outcomes and omissions that the code knows. */
export interface KindsExpectation {
  outcomes: string[];
  omissions: readonly string[];
}

export const knownOutcomes = (): string[] => Outcome.options.map(({ shape }) => shape.kind.value);

/** Writes all records, and what they mean, into an empty folder. */
export async function makeRecords(folder: string): Promise<void> {
  const kinds: KindsExpectation = { outcomes: knownOutcomes(), omissions };
  writeFileSync(join(folder, 'kinds.json'), goldenJson(kinds));
  await makeClient(folder);
  makeConfig(folder);
  makeSwarmKey(folder);
  await makeJournal(folder);
  await makeKatas(folder);
}
