import { join } from 'node:path';
import { z } from 'zod';
import { KatafleetError, messageOf } from '../model/errors.ts';
import { Manifest } from '../model/manifest.ts';
import { FilesBelow, startPointLimits } from '../files/below.ts';
import { fateOf, parseRules, type Rules, rulesFile } from './rules.ts';
import type { WholeFile } from './kata-files.ts';

export interface StartPoint {
  manifest: Manifest;
  rules: Rules;
  files: WholeFile[];
}

/**
 * Reads a folder with manifest.json in cyber-dojo's format, the visible files that it names, and kata.yaml, if there are rules for the
 * tools' files. No link below the folder is followed: it could lead to any file of the machine.
 * @throws kata.invalid, files.path, files.too_many, files.too_large
 */
export async function readStartPoint(folder: string): Promise<StartPoint> {
  const below = new FilesBelow(folder, startPointLimits);
  const text = await textOf(below, 'manifest.json').catch((cause: unknown) => {
    throw noStartPoint(folder, messageOf(cause), cause);
  });
  if (text === undefined) throw noStartPoint(folder, 'it has no plain file manifest.json');
  const manifest = parseManifest(text, join(folder, 'manifest.json'));
  const rules = parseRules((await textOf(below, rulesFile)) ?? (await withoutRules(below)), join(folder, rulesFile));
  fateOf(rules, manifest.hidden_filenames);
  const files: WholeFile[] = [];
  for (const path of manifest.visible_filenames) files.push(await startFile(below, path));
  return { manifest, rules, files };
}

async function textOf(below: FilesBelow, name: string): Promise<string | undefined> {
  return (await below.read(name, startPointLimits.manifest))?.content.toString('utf8');
}

/** Returns no rules if there is no kata.yaml. A kata.yaml that cannot be read is an error. @throws kata.invalid */
async function withoutRules(below: FilesBelow): Promise<string> {
  if ((await below.names(''))?.includes(rulesFile) !== true) return '';
  throw new KatafleetError('kata.invalid', `${join(below.folder, rulesFile)} is not a plain file`);
}

/**
 * Sets the mode to 0755 if the owner may execute the file, else to 0644: the rest of the mode comes from the checkout, not from the
 * author.
 */
async function startFile(below: FilesBelow, path: string): Promise<WholeFile> {
  const names = `the start-point ${below.folder} names ${JSON.stringify(path)}`;
  const found = await below.read(path).catch((cause: unknown) => {
    throw cause instanceof KatafleetError ? cause : new KatafleetError('kata.invalid', `${names}: ${messageOf(cause)}`, { cause });
  });
  if (!found) throw new KatafleetError('kata.invalid', `${names}: it has no plain file of that name; links are not followed`);
  const { content, mtimeNs, executable } = found;
  return { path, mode: executable ? 0o755 : 0o644, mtimeNs, content };
}

function noStartPoint(folder: string, why: string, cause?: unknown): KatafleetError {
  return new KatafleetError('kata.invalid', `${folder} is not a start-point: ${why}`, {
    ...(cause === undefined ? {} : { cause }),
    hint: 'a start-point is a folder with a manifest.json and the files that it names',
  });
}

function parseManifest(text: string, shown: string): Manifest {
  try {
    return Manifest.parse(JSON.parse(text));
  } catch (cause) {
    const why =
      cause instanceof z.ZodError ? cause.issues.map(({ path, message }) => `${path.join('.')}: ${message}`).join('; ') : messageOf(cause);
    throw new KatafleetError('kata.invalid', `${shown} is not a start-point's manifest: ${why}`, { cause });
  }
}
