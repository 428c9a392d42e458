import { lstat, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { KatafleetError, messageOf } from '../core/errors.ts';
import { Manifest } from '../core/manifest.ts';
import { sandboxPath } from '../core/paths.ts';
import { fateOf, parseRules, type Rules, rulesFile } from './rules.ts';
import type { WholeFile } from './sandbox.ts';

export interface StartPoint {
  manifest: Manifest;
  rules: Rules;
  files: WholeFile[];
}

/**
 * A folder with manifest.json in cyber-dojo's format, the visible files that it names, and kata.yaml where the files that
 * tools make are to be treated by rules. Links are refused: they could name any file of the machine.
 * @throws kata.invalid, files.path
 */
export async function readStartPoint(folder: string): Promise<StartPoint> {
  const text = await readFile(join(folder, 'manifest.json'), 'utf8').catch((cause: unknown) => {
    throw new KatafleetError('kata.invalid', `${folder} is no start-point: ${messageOf(cause)}`, {
      cause,
      hint: 'a start-point is a folder with a manifest.json and the files that it names',
    });
  });
  const manifest = parseManifest(text, join(folder, 'manifest.json'));
  const rules = parseRules(await readFile(join(folder, rulesFile), 'utf8').catch(absent), join(folder, rulesFile));
  fateOf(rules, manifest.hidden_filenames);
  const files = await Promise.all(manifest.visible_filenames.map((path) => startFile(folder, path)));
  return { manifest, rules, files };
}

/** What is not executable for its owner gets 0644, what is gets 0755: the rest of a mode is the checkout's, not the author's. */
async function startFile(folder: string, path: string): Promise<WholeFile> {
  sandboxPath(path);
  const file = join(folder, path);
  try {
    const found = await lstat(file, { bigint: true });
    if (!found.isFile()) throw new Error('is no plain file');
    return { path, mode: found.mode & 0o100n ? 0o755 : 0o644, mtimeNs: found.mtimeNs, content: await readFile(file) };
  } catch (cause) {
    throw new KatafleetError('kata.invalid', `the start-point ${folder} names ${JSON.stringify(path)}: ${messageOf(cause)}`, { cause });
  }
}

function parseManifest(text: string, shown: string): Manifest {
  try {
    return Manifest.parse(JSON.parse(text));
  } catch (cause) {
    const why =
      cause instanceof z.ZodError ? cause.issues.map(({ path, message }) => `${path.join('.')}: ${message}`).join('; ') : messageOf(cause);
    throw new KatafleetError('kata.invalid', `${shown} is no start-point's manifest: ${why}`, { cause });
  }
}

function absent(error: unknown): string {
  if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
  throw error;
}
