import { realpath, stat } from 'node:fs/promises';
import { isAbsolute, join, normalize, relative } from 'node:path';
import { KatafleetError, messageOf } from '../model/errors.ts';
import { Way } from '../files/way.ts';

/** A folder that a module may serve, and its owner. It stays open until it is disposed. */
export interface Source extends AsyncDisposable {
  /** The open folder's path in /proc: the daemon reaches the checked folder, even if its name belongs to another by then. */
  path: string;
  uid: number;
  gid: number;
}

/**
 * Opens the folder that a run names. It must lie below a configured root, be reached through no symbolic link, and not be part of a
 * .git folder. Each part of the path is opened from the part before.
 * @throws rsync.source
 */
export async function openSource(path: string, roots: readonly string[]): Promise<Source> {
  const refuse = (why: string, cause?: unknown) =>
    new KatafleetError('rsync.source', `the rsync source ${JSON.stringify(path)} ${why}`, { cause });
  if (!isAbsolute(path) || normalize(path) !== path || path.endsWith('/')) throw refuse('is not a normalized absolute path');
  if (path.split('/').includes('.git')) throw refuse('lies in a .git folder');
  const root = roots.find((candidate) => isBelow(candidate, path));
  if (root === undefined) {
    throw refuse(roots.length === 0 ? 'is refused: the configuration names no folder under rsync.roots' : 'lies below none of rsync.roots');
  }
  try {
    const way = await Way.into(root, relative(root, path), 'may be a link');
    const [found, address] = [await way.stat(), way.address];
    if (!found || address === undefined) throw refuse(await whyNot(root, path));
    return { path: address, uid: found.uid, gid: found.gid, [Symbol.asyncDispose]: () => way[Symbol.asyncDispose]() };
  } catch (error) {
    throw error instanceof KatafleetError ? error : refuse(`can't be used: ${messageOf(error)}`, error);
  }
}

/** Explains why a folder was not reached. No decision depends on it. */
async function whyNot(root: string, path: string): Promise<string> {
  if ((await realpath(path)) !== join(await realpath(root), relative(root, path))) return 'is reached through a symbolic link';
  return (await stat(path)).isDirectory() ? "can't be used: it has too many parts, or is another by now" : 'is not a folder';
}

function isBelow(root: string, path: string): boolean {
  const way = relative(root, path);
  return way !== '' && way !== '..' && !way.startsWith('../') && !isAbsolute(way);
}
