import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { KatafleetError, messageOf } from '../core/errors.ts';
import { Manifest } from '../core/manifest.ts';
import type { SandboxFile } from '../core/run.ts';

/** The manifest in a folder, undefined where there is none. @throws recipe.invalid */
export async function readManifest(folder: string): Promise<Manifest | undefined> {
  const file = join(folder, 'manifest.json');
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  try {
    return Manifest.parse(JSON.parse(text));
  } catch (cause) {
    throw new KatafleetError('recipe.invalid', `${file} is no start-point's manifest: ${messageOf(cause)}`, { cause });
  }
}

/** The visible files of a start-point, with those of another folder in place of, or beside, its own. */
export async function startPointFiles(folder: string, instead?: string): Promise<SandboxFile[]> {
  const manifest = await readManifest(folder);
  if (!manifest) throw new KatafleetError('recipe.invalid', `${folder} has no manifest.json`);
  const sources = new Map(manifest.visible_filenames.map((name) => [name, join(folder, name)]));
  for (const name of instead === undefined ? [] : await readdir(instead)) sources.set(name, join(instead ?? '', name));
  return Promise.all(
    Array.from(sources, async ([path, file]) => {
      const { mtimeNs } = await stat(file, { bigint: true });
      return { path, mode: 0o644, mtimeNs, content: await readFile(file) };
    }),
  );
}
