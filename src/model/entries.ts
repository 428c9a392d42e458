import { KatafleetError } from './errors.ts';
import { sandboxPath } from './paths.ts';

/** Returns the folders above a path: of `a/b/c` these are `a/b` and `a`. */
export function ancestors(path: string): string[] {
  const found: string[] = [];
  for (let at = path.lastIndexOf('/'); at > 0; at = path.lastIndexOf('/', at - 1)) found.push(path.slice(0, at));
  return found;
}

/** Checks that files and folders can lie in one sandbox folder. @throws files.path for a path that is not allowed, or not beside the others */
export function checkEntries(files: readonly { path: string }[], folders: readonly { path: string }[]): void {
  const names = new Set<string>();
  for (const { path } of [...files, ...folders]) {
    sandboxPath(path);
    if (names.has(path)) throw new KatafleetError('files.path', `the path ${JSON.stringify(path)} is given twice`);
    names.add(path);
  }
  const plain = new Set(files.map(({ path }) => path));
  for (const path of names) {
    const above = ancestors(path).find((parent) => plain.has(parent));
    if (above !== undefined)
      throw new KatafleetError('files.path', `${JSON.stringify(above)} is given as a file and as the folder of ${JSON.stringify(path)}`);
  }
}
