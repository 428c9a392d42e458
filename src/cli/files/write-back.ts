import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { constants } from 'node:fs';
import { chmod, lstat, mkdir, open, opendir, rm, utimes } from 'node:fs/promises';
import { listed } from '../../base/listed.ts';
import { KatafleetError, messageOf } from '../../model/errors.ts';
import { decodePath, encodePath } from '../../model/paths.ts';
import { makeFolder } from '../../files/make-folder.ts';
import type { Changes } from '../../model/result.ts';
import { namesGitFolder } from '../../katas/names.ts';
import { type WithheldReason, whyWithheld } from './own-names.ts';

const slash = Buffer.from('/');

/** A path that was neither written nor deleted, and why. */
export interface NotWritten {
  path: string;
  reason: WithheldReason;
}

/**
 * Writes a run's files below a folder and nowhere else. The protocol has checked the paths. A link in place of a folder is an error; a
 * link in place of a file is replaced. Set-user and set-group bits are dropped. A path that was deleted in the sandbox is deleted here,
 * unless it is a folder with a repository: that was never sent, so the program may not delete or replace it. Paths that could make a
 * git repository are not written, and dotfiles only if they are allowed, because the user's tools execute both. Returns what was not
 * written.
 * @throws output.unwritable
 */
export async function writeBack(
  folder: string,
  given: Pick<Changes, 'files' | 'folders' | 'deleted'>,
  { dotfiles = false }: { dotfiles?: boolean | undefined } = {},
): Promise<NotWritten[]> {
  const left: NotWritten[] = [];
  const mine = (path: string, content?: Uint8Array) => {
    const reason = whyWithheld(path, content);
    if (reason === undefined || (reason === 'dotfile' && dotfiles)) return true;
    left.push({ path, reason });
    return false;
  };
  const changes = {
    deleted: given.deleted.filter((path) => mine(path)),
    folders: given.folders.filter(({ path }) => mine(path)),
    files: given.files.filter(({ path, content }) => mine(path, content)),
  };
  await write(folder, changes, (path) => left.push({ path, reason: 'git' }));
  return left;
}

/** Returns a line for each reason, with the paths that were not written. */
export function sayNotWritten(left: readonly NotWritten[]): string[] {
  const lines = (reason: WithheldReason, why: string) => {
    const paths = left.filter((one) => one.reason === reason).map(({ path }) => path);
    return paths.length === 0 ? [] : [`not written: ${listed(paths, 5)}, for ${why}`];
  };
  return [
    ...lines('git', 'git would take it for a repository, or it holds one'),
    ...lines('dotfile', 'shells, editors and tools run files of such names unasked (--allow-dotfiles writes them)'),
  ];
}

async function write(
  folder: string,
  changes: Pick<Changes, 'files' | 'folders' | 'deleted'>,
  leave: (path: string) => void,
): Promise<void> {
  const root = Buffer.from(folder);
  const stamps: { path: Buffer; mtimeNs: bigint }[] = [];
  try {
    await makeFolder(folder);
    for (const path of changes.deleted) {
      const at = await place(root, path, false);
      if (at && !(await cleared(at))) leave(path);
    }
    for (const { path, mode, mtimeNs } of changes.folders) {
      const at = await place(root, path, true);
      if (!at) continue;
      await folderAt(at);
      await chmod(at, mode & 0o777);
      stamps.push({ path: at, mtimeNs });
    }
    for (const file of changes.files) {
      const at = await place(root, file.path, true);
      if (!at) continue;
      if (!(await cleared(at))) {
        leave(file.path);
        continue;
      }
      const handle = await open(at, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW, 0o600);
      try {
        await handle.writeFile(file.content);
        await handle.chmod(file.mode & 0o777);
      } finally {
        await handle.close();
      }
      stamps.push({ path: at, mtimeNs: file.mtimeNs });
    }
    await stamp(stamps);
  } catch (cause) {
    throw new KatafleetError('output.unwritable', `can't write the files to ${folder}: ${messageOf(cause)}`, { cause });
  }
}

/** Removes a path unless it holds a repository. Returns whether it is removed. */
async function cleared(at: Buffer): Promise<boolean> {
  if (await holdsRepository(at)) return false;
  await rm(at, { force: true, recursive: true });
  return true;
}

async function holdsRepository(at: Buffer): Promise<boolean> {
  const found = await lstat(at).catch(() => undefined); // rm reports a path that cannot be read
  if (!found?.isDirectory()) return false;
  for await (const entry of await opendir(at, { encoding: 'buffer' as BufferEncoding })) {
    const name = entry.name as unknown as Buffer;
    if (namesGitFolder(decodePath(name)) || (await holdsRepository(Buffer.concat([at, slash, name])))) return true;
  }
  return false;
}

/** Returns the absolute path, after a check of each of its folders, which are created if `make` is set; undefined if one is absent. */
async function place(root: Buffer, path: string, make: boolean): Promise<Buffer | undefined> {
  const bytes = encodePath(path);
  for (let at = bytes.indexOf(0x2f); at >= 0; at = bytes.indexOf(0x2f, at + 1)) {
    const parent = Buffer.concat([root, slash, bytes.subarray(0, at)]);
    if (make) await folderAt(parent);
    else if (
      !(await lstat(parent).then(
        (found) => found.isDirectory(),
        () => false,
      ))
    )
      return undefined;
  }
  return Buffer.concat([root, slash, bytes]);
}

async function folderAt(path: Buffer): Promise<void> {
  await mkdir(path).catch(async (error: unknown) => {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST' || !(await lstat(path)).isDirectory()) throw error;
  });
}

/** Sets time stamps. Node takes them as floating point seconds, which loses some 100 ns; GNU touch, if it is there, sets them exactly. */
async function stamp(stamps: readonly { path: Buffer; mtimeNs: bigint }[]): Promise<void> {
  if (stamps.length === 0) return;
  for (const { path, mtimeNs } of stamps) await utimes(path, Number(mtimeNs) / 1e9, Number(mtimeNs) / 1e9);
  if (process.platform !== 'linux') return;
  const child = spawn('xargs', ['-0', '-n', '3', 'touch', '--no-create', '--no-dereference'], { stdio: ['pipe', 'ignore', 'ignore'] });
  child.stdin.on('error', () => undefined); // if the tool is missing or ends early, Node's time stamps stay
  for (const { path, mtimeNs } of stamps)
    child.stdin.write(Buffer.concat([Buffer.from(`-d\0@${seconds(mtimeNs)}\0`), path, Buffer.from([0])]));
  child.stdin.end();
  await once(child, 'close').catch(() => undefined); // the tool is missing
}

/** Returns decimal seconds, for times before 1970 too: -1.5 is half a second before the last but one. */
function seconds(ns: bigint): string {
  const size = ns < 0n ? -ns : ns;
  return `${ns < 0n ? '-' : ''}${size / 1_000_000_000n}.${String(size % 1_000_000_000n).padStart(9, '0')}`;
}
