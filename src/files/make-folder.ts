import { mkdirSync, statSync } from 'node:fs';
import { mkdir, stat } from 'node:fs/promises';
import { dirname } from 'node:path';

/**
 * Makes a folder with all above it, if it is not there. In place of `mkdir` with `recursive`, which never comes back for a path where
 * the file system makes none, below /proc for instance (Node 20). @throws what mkdir throws; ENOENT, in words, for such a path
 */
export async function makeFolder(path: string, mode = 0o777): Promise<void> {
  try {
    await mkdir(path, { mode });
  } catch (error) {
    if ((await stat(path).catch(() => undefined))?.isDirectory() === true) return;
    const above = dirname(path);
    if (!isAbsent(error) || above === path) throw error;
    await makeFolder(above, mode); // there by now, where somebody else makes the same one
    await mkdir(path, { mode }).catch((again: unknown) => {
      if (isAbsent(again)) throw noFoldersIn(above, path, again);
      if (!isThere(again)) throw again; // somebody else's, in between
    });
  }
}

/** As {@link makeFolder}. */
export function makeFolderSync(path: string, mode = 0o777): void {
  try {
    mkdirSync(path, { mode });
  } catch (error) {
    if (statSync(path, { throwIfNoEntry: false })?.isDirectory() === true) return;
    const above = dirname(path);
    if (!isAbsent(error) || above === path) throw error;
    makeFolderSync(above, mode); // there by now, where somebody else makes the same one
    try {
      mkdirSync(path, { mode });
    } catch (again) {
      if (isAbsent(again)) throw noFoldersIn(above, path, again);
      if (!isThere(again)) throw again; // somebody else's, in between
    }
  }
}

const codeOf = (error: unknown) => (error as NodeJS.ErrnoException).code;
const isAbsent = (error: unknown) => codeOf(error) === 'ENOENT';
const isThere = (error: unknown) => codeOf(error) === 'EEXIST';

function noFoldersIn(above: string, path: string, cause: unknown): Error {
  return Object.assign(new Error(`ENOENT: the file system of ${above} has no place for a folder ${path}`, { cause }), {
    code: 'ENOENT',
    path,
  });
}
