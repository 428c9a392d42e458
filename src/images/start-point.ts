import { join } from 'node:path';
import { KatafleetError } from '../model/errors.ts';
import { faultsOf } from '../model/faults.ts';
import { Manifest } from '../model/manifest.ts';
import { sandboxPath } from '../model/paths.ts';
import type { SandboxFile } from '../model/request.ts';
import { FilesBelow, startPointLimits } from '../files/below.ts';

/**
 * Reads the manifest in a folder; undefined if it has none that is a plain file. Web pages, browser extensions and others have a
 * manifest.json too: where one of those may be, only a manifest with an image or visible files counts as a start-point's.
 * @throws recipe.invalid, files.too_large
 */
export async function readManifest(folder: string, kinds: 'our kind' | 'or another kind' = 'our kind'): Promise<Manifest | undefined> {
  return manifestOf(new FilesBelow(folder, startPointLimits), '', kinds);
}

async function manifestOf(below: FilesBelow, at: string, kinds: 'our kind' | 'or another kind'): Promise<Manifest | undefined> {
  const name = at === '' ? 'manifest.json' : `${at}/manifest.json`;
  const file = join(below.folder, name);
  const found = await below.read(name, startPointLimits.manifest).catch((error: unknown) => {
    if (kinds === 'or another kind' && error instanceof KatafleetError && error.code === 'files.too_large') return undefined;
    throw error;
  });
  if (!found) return undefined;
  const text = found.content.toString('utf8');
  const json = parseJson(text);
  if (kinds === 'or another kind' && !('image_name' in json) && !('visible_filenames' in json)) return undefined;
  const parsed = Manifest.safeParse(json);
  if (parsed.success) return parsed.data;
  throw new KatafleetError('recipe.invalid', `${file} is not a start-point's manifest: ${faultsOf(parsed.error, 'manifest')}`);
}

/** Text that is not JSON gives an object without keys. */
function parseJson(text: string): object {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? value : {};
  } catch {
    return {};
  }
}

/**
 * Returns the visible files of a recipe's start-point. Files of another of the recipe's folders replace them or are added to them. No
 * link below the recipe's folder is followed. @throws recipe.invalid, files.path, files.too_many, files.too_large
 */
export async function startPointFiles(recipe: string, startPoint: string, instead?: string): Promise<SandboxFile[]> {
  const below = new FilesBelow(recipe, startPointLimits);
  const manifest = await manifestOf(below, startPoint, 'our kind');
  if (!manifest) throw new KatafleetError('recipe.invalid', `${join(recipe, startPoint)} has no plain file manifest.json`);
  const sources = new Map<string, string>();
  for (const name of manifest.visible_filenames) {
    sandboxPath(name); // the file must be below the start-point, not only below the recipe
    sources.set(name, `${startPoint}/${name}`);
  }
  if (instead !== undefined) {
    const names = await below.names(instead);
    if (!names) throw new KatafleetError('recipe.invalid', `${join(recipe, instead)} is not a folder; links are not followed`);
    for (const name of names) sources.set(name, `${instead}/${name}`);
  }
  const files: SandboxFile[] = [];
  for (const [path, source] of sources) {
    const found = await below.read(source);
    if (!found) throw new KatafleetError('recipe.invalid', `${join(recipe, source)} is not a plain file; links are not followed`);
    files.push({ path, mode: 0o644, mtimeNs: found.mtimeNs, content: found.content });
  }
  return files;
}
