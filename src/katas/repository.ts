import { constants } from 'node:fs';
import { copyFile, link, mkdir, open, readdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Git } from './git.ts';

/** An empty bare repository without hooks or anything else of a template's. @throws kata.git */
export async function makeRepository(git: Git, repository: string): Promise<void> {
  await mkdir(repository, { recursive: true, mode: 0o700 });
  await git.run(repository, ['init', '--quiet', '--bare', '--template=', '--initial-branch=main', '--object-format=sha1']);
}

/**
 * Copies a repository that is not written to; the copy is there whole or not at all. Its files are linked where the file system
 * can, for git never writes into a file that is there, it puts another in its place: nothing to copy, nothing to bring to
 * disk but names, and those go with the last one.
 */
export async function cloneRepository(from: string, to: string): Promise<void> {
  const staged = `${to}.new`;
  await rm(staged, { recursive: true, force: true });
  await linkTree(from, staged);
  await rename(staged, to);
  await syncFolder(dirname(to));
}

async function linkTree(from: string, to: string): Promise<void> {
  await mkdir(to);
  for (const entry of await readdir(from, { withFileTypes: true })) {
    const [source, target] = [join(from, entry.name), join(to, entry.name)];
    if (entry.isDirectory()) await linkTree(source, target);
    else await link(source, target).catch(() => copy(source, target)); // such as across file systems
  }
}

async function copy(from: string, to: string): Promise<void> {
  await copyFile(from, to, constants.COPYFILE_EXCL);
  const handle = await open(to, 'r');
  await handle.sync().finally(() => handle.close());
}

/** Brings a folder's entries to disk. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  await handle.sync().finally(() => handle.close());
}

/** Older than this, what git writes and takes away in a moment was left by one that died, ms. */
const leftoverMs = 10_000;

/**
 * Removes what a git that failed or died left behind: half packs, which on a full disk take the room that the next try
 * needs, its report of the crash, and locks. The caller has the avatar's lock; a git that outlived a katafleet that was
 * killed may still be at work, so that only what has been there for a while goes.
 * @param now take what is younger, too: our own git has just failed
 */
export async function clearLeftovers(repository: string, now: boolean): Promise<void> {
  const names = await readdir(repository, { recursive: true });
  for (const name of names) {
    const leftover = /(^|\/)(fast_import_crash_\d+|tmp_[^/]*)$/.test(name) || /^(refs\/.*|HEAD|config|packed-refs)\.lock$/.test(name);
    if (!leftover) continue;
    const file = join(repository, name);
    const handle = await open(file, 'r').catch(() => undefined); // gone meanwhile
    if (!handle) continue;
    const age = Date.now() - (await handle.stat().finally(() => handle.close())).mtimeMs;
    if ((now && !name.endsWith('.lock')) || age > leftoverMs) await rm(file, { force: true });
  }
}

/** How many packs a repository may have before they are made one. */
const mostPacks = 60;

/** Makes one pack of many; readers that have an old one open keep it. @throws kata.git */
export async function tidy(git: Git, repository: string): Promise<void> {
  const packs = (await readdir(join(repository, 'objects/pack'))).filter((name) => name.endsWith('.pack'));
  if (packs.length > mostPacks) await git.run(repository, ['repack', '-a', '-d', '-q'], { timeoutMs: 600_000 });
}
