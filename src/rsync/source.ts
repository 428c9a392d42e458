import { realpath, stat } from 'node:fs/promises';
import { isAbsolute, join, normalize, relative } from 'node:path';
import { KatafleetError, messageOf } from '../core/errors.ts';
import { canBePath } from './modules.ts';

/** A folder that a module may show, and whose it is. */
export interface Source {
  path: string;
  uid: number;
  gid: number;
}

/**
 * The folder that a run names, when it lies below a configured root, no part of the way is a symbolic link, and it is no
 * part of a git repository's own files. @throws rsync.source
 */
export async function findSource(path: string, roots: readonly string[]): Promise<Source> {
  const refuse = (why: string, cause?: unknown) =>
    new KatafleetError('rsync.source', `the rsync source ${JSON.stringify(path)} ${why}`, cause === undefined ? {} : { cause });
  if (!isAbsolute(path) || normalize(path) !== path || path.endsWith('/')) throw refuse('is not an absolute path in its shortest form');
  if (path.split('/').includes('.git')) throw refuse('lies in a .git folder');
  const root = roots.find((candidate) => isBelow(candidate, path));
  if (root === undefined) {
    throw refuse(roots.length === 0 ? 'is refused: the configuration names no folder under rsync.roots' : 'lies below none of rsync.roots');
  }
  try {
    const expected = join(await realpath(root), relative(root, path));
    if ((await realpath(path)) !== expected) throw refuse('is reached through a symbolic link');
    if (!canBePath(expected)) throw refuse('has a character in its name that rsyncd.conf has no way to say');
    const found = await stat(expected);
    if (!found.isDirectory()) throw refuse('is not a folder');
    return { path: expected, uid: found.uid, gid: found.gid };
  } catch (error) {
    throw error instanceof KatafleetError ? error : refuse(`can't be used: ${messageOf(error)}`, error);
  }
}

function isBelow(root: string, path: string): boolean {
  const way = relative(root, path);
  return way !== '' && way !== '..' && !way.startsWith('../') && !isAbsolute(way);
}
