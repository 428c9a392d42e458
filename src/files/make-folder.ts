import { mkdirSync, statSync } from 'node:fs';
import { mkdir, stat } from 'node:fs/promises';
import { dirname } from 'node:path';

/**
 * Makes a folder and all folders above it, where they are missing. `mkdir` with `recursive` never returns on Node 20 where the file
 * system makes no folders, below /proc for instance. @throws what mkdir throws; ENOENT with a message of its own for such a path
 */
export async function makeFolder(path: string, mode = 0o777): Promise<void> {
  try {
    await mkdir(path, { mode });
  } catch (error) {
    if ((await stat(path).catch(() => undefined))?.isDirectory() === true) return;
    const above = dirname(path);
    if (!isAbsent(error) || above === path) throw error;
    await makeFolder(above, mode); // it is there if another process makes the same one
    await mkdir(path, { mode }).catch((again: unknown) => {
      if (isAbsent(again)) throw noFoldersIn(above, path, again);
      if (!isThere(again)) throw again; // another process made it in between
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
    makeFolderSync(above, mode); // it is there if another process makes the same one
    try {
      mkdirSync(path, { mode });
    } catch (again) {
      if (isAbsent(again)) throw noFoldersIn(above, path, again);
      if (!isThere(again)) throw again; // another process made it in between
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
