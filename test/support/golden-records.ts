import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { makeRecords } from '../golden/records.ts';
import { atExit } from './at-exit.ts';
import { goldenFolder } from './golden.ts';

/** Records that one katafleet wrote. */
export interface Records {
  /** Which katafleet wrote them, for the names of tests. */
  of: string;
  folder: () => Promise<string>;
}

/** The records of every release, by name. */
export function keptRecords(): Records[] {
  return readdirSync(goldenFolder, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => ({ of: `release ${name}`, folder: () => Promise.resolve(join(goldenFolder, name)) }))
    .sort((a, b) => (a.of < b.of ? -1 : 1));
}

/** The records of every release, and those of the current code. */
export function allRecords(): Records[] {
  return [...keptRecords(), { of: 'the code as it stands', folder: () => (made ??= makeInScratch()) }];
}

let made: Promise<string> | undefined;

async function makeInScratch(): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'katafleet-golden-'));
  atExit(() => rmSync(folder, { recursive: true, force: true }));
  await makeRecords(folder);
  return folder;
}
