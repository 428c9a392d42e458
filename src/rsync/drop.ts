import { execFile } from 'node:child_process';
import { lstat, readdir } from 'node:fs/promises';
import { promisify } from 'node:util';
import { MiB } from '../base/units.ts';
import { encodePath } from '../model/paths.ts';
import type { ListedFile, ReturnedFile } from '../model/result.ts';
import { readExactly, Way } from '../files/way.ts';

const atOnce = 16;

/**
 * Reads from a drop the files that the supervisor listed, and nothing else: each by its checked name, through no symbolic
 * link, a regular file with one name and of exactly the listed size. Kind, mode and time stamp are the list's. Undefined
 * where one of them is not so: then the drop is not to be used at all.
 */
export async function readDrop(folder: string, listed: readonly ListedFile[]): Promise<ReturnedFile[] | undefined> {
  const files = new Map<string, ReturnedFile>();
  for (const [parent, inside] of byFolder(listed)) {
    await using way = await Way.into(folder, parent);
    if (!way.reached) return undefined;
    for (let at = 0; at < inside.length; at += atOnce) {
      const contents = await Promise.all(inside.slice(at, at + atOnce).map(({ name, file }) => contentOf(way, name, file.size)));
      for (const [index, content] of contents.entries()) {
        const file = inside[at + index]?.file;
        if (content === undefined || file === undefined) return undefined;
        const { change, path, mode, mtimeNs } = file;
        files.set(path, { change, path, mode, mtimeNs, content });
      }
    }
  }
  return listed.flatMap(({ path }) => files.get(path) ?? []);
}

/** Names and files by the folder that holds them, so that each way is gone once. */
function byFolder(listed: readonly ListedFile[]): Map<string, { name: Buffer; file: ListedFile }[]> {
  const folders = new Map<string, { name: Buffer; file: ListedFile }[]>();
  for (const file of listed) {
    const slash = file.path.lastIndexOf('/');
    const parent = slash < 0 ? '' : file.path.slice(0, slash);
    const inside = folders.get(parent) ?? [];
    inside.push({ name: encodePath(file.path.slice(slash + 1)), file });
    folders.set(parent, inside);
  }
  return folders;
}

async function contentOf(way: Way, name: Buffer, size: number): Promise<Buffer | undefined> {
  const handle = await way.open(name);
  if (handle === undefined) return undefined;
  try {
    const found = await handle.stat();
    if (!found.isFile() || found.nlink !== 1 || found.size !== size) return undefined;
    return await readExactly(handle, size);
  } finally {
    await handle.close();
  }
}

/** What a drop may hold at most: what was listed, a temporary file more, and the folders on the way. */
export interface DropBounds {
  bytes: number;
  entries: number;
}

export function dropBounds(listed: readonly ListedFile[]): DropBounds {
  const folders = new Set<string>();
  for (const { path } of listed) {
    for (let slash = path.indexOf('/'); slash >= 0; slash = path.indexOf('/', slash + 1)) folders.add(path.slice(0, slash));
  }
  const [sum, largest] = listed.reduce(([all, most], { size }) => [all + size, Math.max(most, size)], [0, 0]);
  return { bytes: sum + largest + MiB, entries: listed.length + folders.size + 16 };
}

/** Whether a drop holds more than it may, or what can't be counted: a tree deeper than a path can say. Looks no further once it does. */
export async function exceeds(folder: string, bounds: DropBounds): Promise<boolean> {
  let { bytes, entries } = bounds;
  const waiting = [Buffer.from(folder)];
  for (let at = waiting.pop(); at !== undefined; at = waiting.pop()) {
    const names = await unlessGone(readdir(at, { encoding: 'buffer' }));
    if (names === 'unknown') return true;
    for (const name of names ?? []) {
      entries -= 1;
      const path = Buffer.concat([at, Buffer.from('/'), name]);
      const found = await unlessGone(lstat(path));
      if (found === 'unknown') return true;
      if (found?.isDirectory()) waiting.push(path);
      else bytes -= found?.size ?? 0;
      if (bytes < 0 || entries < 0) return true;
    }
  }
  return false;
}

/**
 * Removes a folder of drops with all that is in it, if it is there. By rm, which goes folder by folder: Node's own removal fails
 * on a tree that is deeper than a path can say.
 */
export async function removeDrops(path: string): Promise<void> {
  await promisify(execFile)('rm', ['-rf', '--', path]);
}

/** Undefined for what is not there any more: a temporary file has its name by now. */
async function unlessGone<T>(asked: Promise<T>): Promise<T | 'unknown' | undefined> {
  try {
    return await asked;
  } catch (error) {
    return ['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '') ? undefined : 'unknown';
  }
}
