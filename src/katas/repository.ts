import { constants } from 'node:fs';
import { copyFile, link, mkdir, open, readdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Git } from './git.ts';

/** Creates an empty bare repository without hooks or other template files. @throws kata.git */
export async function makeRepository(git: Git, repository: string): Promise<void> {
  await mkdir(repository, { recursive: true, mode: 0o700 });
  await git.run(repository, ['init', '--quiet', '--bare', '--template=', '--initial-branch=main', '--object-format=sha1']);
}

/**
 * Copies a repository that no process writes to, as a whole or not at all. Its files are linked if the file system allows it, because
 * git replaces files and never writes into existing ones. So only names must be written to disk, and those follow with the last one.
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
    else await link(source, target).catch(() => copy(source, target)); // for example across file systems
  }
}

async function copy(from: string, to: string): Promise<void> {
  await copyFile(from, to, constants.COPYFILE_EXCL);
  const handle = await open(to, 'r');
  await handle.sync().finally(() => handle.close());
}

/** Writes a folder's entries to disk. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  await handle.sync().finally(() => handle.close());
}

/** Age from which git's temporary files count as leftovers of a dead process (ms). */
const leftoverMs = 10_000;

/**
 * Removes what a failed or dead git process left: half packs, which on a full disk take the room of the next try; crash reports; locks.
 * The caller has the avatar's lock. A git process that outlived a killed katafleet may still be at work, so only older files are
 * removed.
 * @param now remove newer files too: our own git has just failed
 */
export async function clearLeftovers(repository: string, now: boolean): Promise<void> {
  const names = await readdir(repository, { recursive: true });
  for (const name of names) {
    const leftover = /(^|\/)(fast_import_crash_\d+|tmp_[^/]*)$/.test(name) || /^(refs\/.*|HEAD|config|packed-refs)\.lock$/.test(name);
    if (!leftover) continue;
    const file = join(repository, name);
    const handle = await open(file, 'r').catch(() => undefined); // it is gone
    if (!handle) continue;
    const age = Date.now() - (await handle.stat().finally(() => handle.close())).mtimeMs;
    if ((now && !name.endsWith('.lock')) || age > leftoverMs) await rm(file, { force: true });
  }
}

/** Most packs of a repository before they are joined. */
const mostPacks = 60;

/** Joins many packs into one; a reader that has an old one open keeps it. @throws kata.git */
export async function tidy(git: Git, repository: string): Promise<void> {
  const packs = (await readdir(join(repository, 'objects/pack'))).filter((name) => name.endsWith('.pack'));
  if (packs.length > mostPacks) await git.run(repository, ['repack', '-a', '-d', '-q'], { timeoutMs: 600_000 });
}
