import { execFile } from 'node:child_process';
import { lstat, readdir } from 'node:fs/promises';
import { promisify } from 'node:util';
import { MiB } from '../base/units.ts';
import { encodePath } from '../model/paths.ts';
import type { ListedFile, ReturnedFile } from '../model/result.ts';
import { readExactly, Way } from '../files/way.ts';

const atOnce = 16;

/**
 * Reads the files that the supervisor listed from a drop, and no others. Each must have its checked name, be reached through no
 * symbolic link, and be a regular file with one name and of exactly the listed size. Its kind of change, mode and time stamp come from
 * the list. Returns undefined if one of the files differs: then the drop must not be used.
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

/** Groups the files by folder, so that each folder's path is walked once. */
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

/** The most that a drop may hold: the listed files, one temporary file, and the folders of their paths. */
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

/**
 * Whether a drop holds more than its bounds, or cannot be counted because its tree is deeper than a path can be. Stops as soon as a
 * bound is passed.
 */
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
 * Removes a folder of drops with all its contents, if it exists. It uses rm, which walks folder by folder: Node's own removal fails if
 * the tree is deeper than a path can be.
 */
export async function removeDrops(path: string): Promise<void> {
  await promisify(execFile)('rm', ['-rf', '--', path]);
}

/** Returns undefined for an entry that is gone: a temporary file may have been renamed. */
async function unlessGone<T>(asked: Promise<T>): Promise<T | 'unknown' | undefined> {
  try {
    return await asked;
  } catch (error) {
    return ['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '') ? undefined : 'unknown';
  }
}
