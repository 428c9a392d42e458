import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { KatafleetError } from '../core/errors.ts';
import { faultsOf } from '../core/faults.ts';
import { Manifest } from '../core/manifest.ts';
import type { SandboxFile } from '../core/run.ts';

/**
 * The manifest in a folder, undefined where there is none. Web pages, browser extensions and others have a manifest.json as
 * well: where one may be there, only what names an image or visible files counts as a start-point's. @throws recipe.invalid
 */
export async function readManifest(folder: string, kinds: 'our kind' | 'or another kind' = 'our kind'): Promise<Manifest | undefined> {
  const file = join(folder, 'manifest.json');
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  const json = parseJson(text);
  if (kinds === 'or another kind' && !('image_name' in json) && !('visible_filenames' in json)) return undefined;
  const parsed = Manifest.safeParse(json);
  if (parsed.success) return parsed.data;
  throw new KatafleetError('recipe.invalid', `${file} is no start-point's manifest: ${faultsOf(parsed.error, 'manifest')}`);
}

/** What is no JSON has none of the keys either. */
function parseJson(text: string): object {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? value : {};
  } catch {
    return {};
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
